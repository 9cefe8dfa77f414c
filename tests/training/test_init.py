"""Runs that start from other weights: what they leave, what stays frozen, at which rates, and how they resume."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from axial_deeplab.cli import main
from axial_deeplab.data.scenes import SCENE_CATEGORIES
from axial_deeplab.errors import InputError
from axial_deeplab.training import tasks, training_task
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.load_recipe import load_recipe
from axial_deeplab.training.run import train
from axial_deeplab.training.run_folder import prepare_run
from tests.checkpoints.checkpoint_files import save_network


def change(recipe: Recipe, path: str, **model: object) -> Recipe:
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, init=path, **model))


def save_scenes(folder: Path, *classes: str) -> str:
    return save_network(folder, "axial_deeplab_nano", *classes, recipe={"augment": {"crop_size": [33, 33]}})


@pytest.mark.parametrize("what", ["encoder", "norms"])
def test_frozen_weights_are_bit_equal_after_training(tiny_recipe: Recipe, tmp_path: Path, what: str) -> None:
    path = save_scenes(tmp_path / "first", "cell", SCENE_CATEGORIES[0].name)
    recipe = change(tiny_recipe, path, freeze=what)
    recipe = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, weight_decay=0.1, lr=0.01))
    train(recipe, tmp_path / "run")
    initial = load_file(Path(path) / "model.safetensors")
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    for key in ("state_dict", "current_model_state"):  # the averaged weights and the others
        weights = {name.removeprefix("model."): value for name, value in last[key].items()}
        stays = {name: torch.equal(value, initial[name]) for name, value in weights.items() if name in initial}
        encoder = {name: equal for name, equal in stays.items() if name.startswith("encoder.")}
        norms = {name: equal for name, equal in encoder.items() if "norm." in name}
        assert all((encoder if what == "encoder" else norms).values())
        assert what == "encoder" or not encoder["encoder.stem.0.conv.weight"]
        assert not stays["semantic_decoder.fuse4.pointwise.conv.weight"]
        assert not stays["semantic_decoder.fuse4.pointwise.norm.running_mean"]


def test_report_is_printed_once_and_kept(
    tiny_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = SCENE_CATEGORIES[0].name
    path = save_scenes(tmp_path / "first", "cell", known)
    seen: list[list[float]] = []
    build = training_task.build_optimizer

    def watch(model, config):
        optimizer = build(model, config)
        seen.append([group["lr"] for group in optimizer.param_groups])
        return optimizer

    monkeypatch.setattr(training_task, "build_optimizer", watch)
    recipe = change(tiny_recipe, path)
    recipe = dataclasses.replace(recipe, optimizer=dataclasses.replace(recipe.optimizer, trunk_rate=0.1))
    train(recipe, tmp_path / "run")
    report = json.loads((tmp_path / "run" / "init.json").read_text())
    assert (report["checkpoint"], report["loaded"], report["kept_classes"]) == (path, report["tensors"], [known])
    text = capsys.readouterr().err
    assert text.count(f"{path}: loaded {report['loaded']} of {report['tensors']} tensors") == 1
    assert "17 of 509 rows trained (distances up to 8); this recipe uses distances up to 16" in text
    lr = tiny_recipe.optimizer.lr
    assert seen == [pytest.approx([lr, lr, 0.1 * lr, 0.1 * lr])]


def test_resumed_run_continues_its_weights(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_scenes(tmp_path / "first", "cell", SCENE_CATEGORIES[0].name)
    recipe = change(tiny_recipe, path, freeze="encoder")
    train(recipe, tmp_path / "whole")
    steps: list[int] = []
    compute = tasks.panoptic_loss

    def interrupt(*arguments, **options):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return compute(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "panoptic_loss", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "broken")
    report = (tmp_path / "broken" / "init.json").read_text()
    save_scenes(tmp_path / "first", "something", "else")  # other weights would now come of it
    train(recipe, tmp_path / "broken", resume=True)
    states = [
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "broken")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert (tmp_path / "broken" / "init.json").read_text() == report


def test_checkpoint_that_does_not_fit_leaves_no_run(tiny_recipe: Recipe, tmp_path: Path) -> None:
    path = save_network(tmp_path / "first", "resnet50", "rose")
    with pytest.raises(InputError, match="has no weights that fit"):
        train(change(tiny_recipe, path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_command_line_has_short_names(capsys: pytest.CaptureFixture[str]) -> None:
    short = ["train", "scenes_small", "--init", "a/b", "--freeze", "norms", "--print-config"]
    long = ["train", "scenes_small", "--model.init", "a/b", "--model.freeze", "norms", "--print-config"]
    printed = []
    for arguments in (short, long):
        assert main(arguments) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    model = yaml.safe_load(printed[0])["model"]
    assert (model["init"], model["freeze"]) == ("a/b", "norms")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--freeze", "encoder"], "model.init"),
        (["--freeze", "everything"], "--freeze"),
        (["--init", "absent.pth"], "absent.pth does not exist"),
        (["--optimizer.trunk_rate", "0"], "optimizer.trunk_rate"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "scenes_small", *arguments, "--output", str(tmp_path / "run")]) == 2
    text = capsys.readouterr().err.strip()
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("field", ["optimizer.trunk_rate=0.1", "model.drop_path=0.1", "model.recompute=[1]"])
def test_what_a_frozen_encoder_cannot_have_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=field.partition("=")[0]):
        load_recipe("scenes_small", ("model.init=a", "model.freeze=encoder", field))
    load_recipe("scenes_small", ("model.init=a", "model.freeze=norms", field))


def test_report_of_a_run_that_was_given_up_goes_with_it(tiny_recipe: Recipe, tmp_path: Path) -> None:
    path = save_scenes(tmp_path / "first", "cell", SCENE_CATEGORIES[0].name)
    report = tmp_path / "run" / "init.json"
    report.parent.mkdir()
    report.write_text("{}")
    prepare_run(report.parent, change(tiny_recipe, path), resume=False)  # a run that came to no checkpoint ...
    assert not report.exists()
    report.write_text("{}")
    prepare_run(report.parent, tiny_recipe, resume=True)  # ... and is begun again from random weights
    assert not report.exists()
    report.write_text("{}")
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    prepare_run(report.parent, tiny_recipe, resume=True)
    assert report.exists()
