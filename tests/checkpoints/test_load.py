"""Checkpoint folders and trainer files: what is written reads back, and nothing else is trusted."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from axial_deeplab.checkpoints.load import TRAINER_KEY, CheckpointConfig, load_checkpoint, save_checkpoint
from axial_deeplab.data import files
from axial_deeplab.data.scenes import SCENE_CATEGORIES
from axial_deeplab.data.transforms import Preprocess
from axial_deeplab.errors import InputError
from axial_deeplab.models import build_model
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.serialization import to_plain

CONFIG = CheckpointConfig(
    model="axial_deeplab_nano",
    categories=SCENE_CATEGORIES,
    preprocess=to_plain(Preprocess(longest_side=97)),
    postprocess=to_plain(PostprocessConfig(nms_kernel=5)),
    recipe={"name": "test", "optimizer": {"lr": 0.1}},
    measured={"All": {"pq": 0.5}},
)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return build_model("axial_deeplab_nano", num_classes=len(SCENE_CATEGORIES))


@pytest.fixture
def folder(model: nn.Module, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint", model, CONFIG)
    return tmp_path / "checkpoint"


def save_trainer_file(path: Path, model: nn.Module, **changes: object) -> Path:
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, TRAINER_KEY: to_plain(CONFIG)} | changes, path)
    return path


def check_equal(loaded: nn.Module, model: nn.Module) -> None:
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_folder_round_trip_is_exact(model: nn.Module, folder: Path) -> None:
    loaded, config = load_checkpoint(folder)
    assert config == CONFIG
    assert not loaded.training
    check_equal(loaded, model)
    names = ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_trainer_file_gives_the_same(model: nn.Module, tmp_path: Path) -> None:
    loaded, config = load_checkpoint(save_trainer_file(tmp_path / "last.ckpt", model))
    assert config == CONFIG
    check_equal(loaded, model)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_failed_write_leaves_nothing_that_is_trusted(
    model: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace = files.os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(target).name == name:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(InputError, match=f"{name}.*No space left"):
        save_checkpoint(folder, model, CONFIG)
    assert not list(folder.glob(".*"))
    with pytest.raises(InputError, match=r"holds no config\.json"):
        load_checkpoint(folder)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format 99, newer than 1: upgrade axial-deeplab"),
        ({"model": "axial_deeplab_nan"}, "did you mean 'axial_deeplab_nano'"),
        (
            {"categories": to_plain(SCENE_CATEGORIES[:2])},
            "do not fit axial_deeplab_nano with 2 classes: 2 of another shape",
        ),
        ({"model": "axial_deeplab_s"}, r"missing \(encoder"),
        ({"colour": 1}, "has no field 'colour'"),
        ({"categories": 3}, "categories must be a list"),
    ],
)
def test_wrong_config_is_named(folder: Path, changes: dict[str, object], message: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_damaged_files_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model\.safetensors cannot be read"):
        load_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is not JSON"):
        load_checkpoint(folder)


def test_what_is_no_checkpoint_is_refused(model: nn.Module, tmp_path: Path) -> None:
    text, cut = tmp_path / "notes.ckpt", save_trainer_file(tmp_path / "cut.ckpt", model)
    text.write_text("nothing")
    cut.write_bytes(cut.read_bytes()[:2000])
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    code = tmp_path / "code.ckpt"
    torch.save({TRAINER_KEY: dataclasses.replace(CONFIG)}, code)  # needs unpickling of a class, which is not done
    for path, message in (
        (tmp_path / "absent", "does not exist"),
        (tmp_path, "is not a checkpoint"),
        (text, "is damaged"),
        (cut, "is damaged"),
        (foreign, "not written by axial-deeplab"),
        (code, "is damaged"),
    ):
        with pytest.raises(InputError, match=message):
            load_checkpoint(path)
