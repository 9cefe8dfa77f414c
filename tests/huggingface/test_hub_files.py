"""What a checkpoint folder has for Hugging Face, and checkpoints on the Hub; transformers is not needed for these."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import axial_deeplab
from axial_deeplab.checkpoints.hub import find_checkpoint
from axial_deeplab.checkpoints.load import CheckpointConfig, load_checkpoint, load_config, save_checkpoint
from axial_deeplab.checkpoints.model_card import MARK, format_card
from axial_deeplab.cli import main
from axial_deeplab.data.files import write_json
from axial_deeplab.errors import InputError
from tests.huggingface.loopback_hub import serve_hub
from tests.huggingface.networks import make_config, make_network, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "checkpoint", make_config())


def edit(path: Path, **changes: object) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


def test_folder_without_these_files_still_loads(folder: Path) -> None:
    config = load_config(folder)
    values = json.loads((folder / "config.json").read_text())
    for name in ("model_type", "architectures", "id2label", "label2id"):
        del values[name]
    write_json(folder / "config.json", values)
    for name in ("preprocessor_config.json", "README.md"):
        (folder / name).unlink()
    assert load_checkpoint(folder)[1] == config == make_config()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("config.json", {"id2label": {"0": "sky"}}, "id2label does not follow"),
        ("config.json", {"model_type": "detr"}, "model_type does not follow"),
        ("config.json", {"problem_type": "regression"}, "has no field 'problem_type'"),
        ("preprocessor_config.json", {"longest_side": 640}, "longest_side is not what config.json says"),
        ("preprocessor_config.json", {"postprocess": {}}, "postprocess is not what config.json says"),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    folder: Path, name: str, changes: dict[str, object], message: str
) -> None:
    edit(folder / name, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(folder)
    assert name in str(caught.value)


def test_what_other_tools_add_is_known(folder: Path) -> None:
    edit(folder / "config.json", transformers_version="5.17.0", dtype="float32")
    edit(folder / "preprocessor_config.json", processor_class=None)
    assert load_checkpoint(folder)[1] == make_config()


def test_card_says_what_is_known(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: image-segmentation\n")
    assert "license:" not in card  # nobody stated one
    for text in (
        "axial_deeplab_nano",
        "sky, field, water",
        "data: scenes",
        "On the split `val`",
        "| all | PQ | 51.2 |",
    ):
        assert text in card
    assert "/secret" not in card


def test_card_of_imported_weights_has_their_licence() -> None:
    origin = {"form": "deeplab2", "licence": "Apache-2.0", "published": {"pq": 66.1}}
    card = format_card(replace(make_config(), recipe={"imported": origin}), 1_000_000)
    assert "\nlicense: apache-2.0\n" in card
    assert "not measured with these: PQ 66.1" in card
    assert "51.2" not in card


def test_own_card_stays(folder: Path) -> None:
    config = make_config()
    path = folder / "README.md"
    save_checkpoint(folder, make_network(config), replace(config, measured={}))
    assert "Not measured" in path.read_text()
    path.write_text(path.read_text().replace(MARK, "Mine."))
    save_checkpoint(folder, make_network(config), config)
    assert "Mine." in path.read_text()
    assert "Not measured" in path.read_text()


def test_classifier_has_its_own_kind(tmp_path: Path) -> None:
    categories = make_config().categories
    preprocess = {"resize": 36, "crop": 33, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    config = CheckpointConfig("axial_resnet_nano", categories, preprocess, task="classification")
    card = format_card(config, 10)
    assert "pipeline_tag: image-classification" in card
    assert "Not recorded." in card


def test_checkpoint_on_the_hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve_hub(monkeypatch, str(tmp_path / "cache")) as hub:
        hub.files = {path.name: path.read_bytes() for path in folder.iterdir()} | {"pytorch_model.bin": b"a pickle"}
        assert axial_deeplab.load("hf://user/network", "cpu").config == make_config()
        found = find_checkpoint("hf://user/network@main")
        assert sorted(path.name for path in found.iterdir()) == [
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
        ]
        assert not any("pytorch_model.bin" in request for request in hub.requests if "resolve" in request)
        assert main(["predict", "x.png", "--checkpoint", "hf://user/other", "--output", str(tmp_path / "out")]) == 2
        assert "hf://user/other cannot be downloaded (RepositoryNotFoundError" in capsys.readouterr().err
    assert load_config("hf://user/network").model == "axial_deeplab_nano"  # from the cache: nobody answers any more


@pytest.mark.parametrize("address", ["hf://", "hf://network", "hf://user/network/folder", "hf://user/network@"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="is no address on the Hub"):
        find_checkpoint(address)
