"""Runs of classification end to end on the CPU: train, resume, evaluate, predict."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

import axial_deeplab
from axial_deeplab.cli import main
from axial_deeplab.data.classification.write_shards import write_shards
from axial_deeplab.errors import InputError
from axial_deeplab.records import ClassificationPrediction
from axial_deeplab.training import class_task
from axial_deeplab.training.class_config import ClassificationRecipe
from axial_deeplab.training.config import RunConfig
from axial_deeplab.training.load_recipe import load_recipe
from axial_deeplab.training.run import train
from tests.training.class_images import write_images


@pytest.fixture
def recipe(tmp_path: Path) -> ClassificationRecipe:
    """Six steps of three small images, two epochs, scored after every second step."""
    fields = (
        f"data.root={write_images(tmp_path / 'images')}",
        "data.workers=0",
        "model.name=axial_resnet_nano",
        "augment.crop=33",
        "preprocess.resize=36",
        "preprocess.crop=33",
        "optimizer.warmup=1",
        "iterations=6",
        "batch_size=3",
        "reference_batch=3",
        "val_every=2",
        "ema_decay=0.5",
    )
    loaded = load_recipe("flowers5_axial_resnet50_s", fields)
    assert isinstance(loaded, ClassificationRecipe)
    return loaded


def watch_steps(monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[tuple[str, ...]]]:
    """Return the lists that collect loss and file names of every step."""
    losses: list[float] = []
    names: list[tuple[str, ...]] = []
    compute, note = class_task.compute_loss, class_task.ClassificationTask.note_step

    def watch(logits: torch.Tensor, labels: torch.Tensor, *, smoothing: float) -> torch.Tensor:
        loss = compute(logits, labels, smoothing=smoothing)
        losses.append(float(loss.detach()))
        return loss

    def note_names(task, step_losses, file_names):
        names.append(file_names)
        note(task, step_losses, file_names)

    monkeypatch.setattr(class_task, "compute_loss", watch)
    monkeypatch.setattr(class_task.ClassificationTask, "note_step", note_names)
    return losses, names


def train_until_killed(recipe: ClassificationRecipe, output: Path, step: int) -> None:
    """Train; in the midst of a step this process is killed as by `kill -9`."""
    torch.set_num_threads(1)
    compute, calls = class_task.compute_loss, iter(range(1, 1000))

    def kill(logits: torch.Tensor, labels: torch.Tensor, *, smoothing: float) -> torch.Tensor:
        if next(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return compute(logits, labels, smoothing=smoothing)

    class_task.compute_loss = kill
    train(recipe, output)


def test_train_evaluate_predict(
    recipe: ClassificationRecipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, root = tmp_path / "run", recipe.data.root
    result = train(recipe, run)
    assert result == json.loads((run / "result.json").read_text())
    assert (result["steps"], result["images"], result["scored"], result["top5"]) == (6, 18, 6, None)
    checkpoint = str(run / "checkpoint")

    out = tmp_path / "scores"
    assert main(["evaluate", "--checkpoint", checkpoint, "--data.root", str(root), "--output", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["top1"] == result["top1"]
    assert report["confusion"] == result["confusion"]
    assert "green" in capsys.readouterr().out
    assert (out / "confusion.png").stat().st_size > 0

    image = f"{root}/val/red/0.png"
    prediction = axial_deeplab.load(checkpoint)(image)
    assert isinstance(prediction, ClassificationPrediction)
    assert sorted(prediction.names) == ["blue", "green", "red"]
    assert sum(prediction.probabilities) == pytest.approx(1)
    assert list(prediction.probabilities) == sorted(prediction.probabilities, reverse=True)
    assert main(["predict", image, "--checkpoint", checkpoint, "--output", str(tmp_path / "p")]) == 0
    assert capsys.readouterr().out.startswith(f"{image}  {prediction.names[0]} ")
    (row,) = json.loads((tmp_path / "p" / "predictions.json").read_text())
    assert [each["name"] for each in row["classes"]] == list(prediction.names)

    assert main(["compare", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["1", f"{100 * result['top1']:.1f}"]
    assert main(["train", str(run / "recipe.json"), "--estimate"]) == 0
    assert "peak memory" in capsys.readouterr().out

    for arguments, option in (
        (["predict", image, "--output", "o", "--tile", "65"], "--tile"),
        (["predict", image, "--output", "o", "--write", "semantic"], "--write"),
        (["evaluate", "--data.root", str(root), "--output", "o", "--tasks", "panoptic"], "--tasks"),
    ):
        assert main([*arguments, "--checkpoint", checkpoint]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"{option} does not go with" in error


@pytest.mark.parametrize("place", ["folders", "shards"])
def test_resumed_run_repeats_the_killed_one_and_shows_every_image_once_an_epoch(
    recipe: ClassificationRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "shards":
        write_shards(str(recipe.data.root), tmp_path / "shards", images_per_shard=2)
        recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, root=str(tmp_path / "shards")))
    recipe = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, drop_path=0.3))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with monkeypatch.context() as patch:
        expected, shown = watch_steps(patch)
        result = train(recipe, whole)
    process = mp.get_context("spawn").Process(target=train_until_killed, args=(recipe, broken, 6))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with monkeypatch.context() as patch:
        after, shown_after = watch_steps(patch)
        resumed = train(recipe, broken, resume=True)
    assert after == expected[4:]  # from the last score on, step 4, like the kill in the midst of the second epoch
    assert resumed["confusion"] == result["confusion"]
    assert shown_after == shown[4:]
    names = [name for step in shown for name in step]
    for epoch in (names[:9], names[9:]):
        assert len(set(epoch)) == 9
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, broken)]
    for key in ("state_dict", "current_model_state"):
        for name, value in states[0][key].items():
            assert torch.equal(value, states[1][key][name]), name


def test_accumulation_other_sizes_and_epochs(recipe: ClassificationRecipe, tmp_path: Path) -> None:
    """Whole images are scored at their own size, 40x48, by a network that learned crops of 47."""
    recipe = dataclasses.replace(
        recipe,
        augment=dataclasses.replace(recipe.augment, crop=47),
        preprocess=dataclasses.replace(recipe.preprocess, crop=0),
        batch_size=1,
        accumulate=3,
        iterations=RunConfig.iterations,
        epochs=1,
        warmup_epochs=0.4,
        val_epochs=0.5,
    )
    result = train(recipe, tmp_path / "run")
    assert (result["steps"], result["images"], result["scored"]) == (3, 9, 6)


def test_epochs_and_iterations_are_not_both_given() -> None:
    with pytest.raises(InputError, match="epochs 0 with iterations"):
        load_recipe("imagenet_resnet50", ["iterations=10"])
    assert load_recipe("imagenet_resnet50", ["iterations=10", "epochs=0", "warmup_epochs=0"]).iterations == 10


def test_a_network_of_the_other_task_is_refused(recipe: ClassificationRecipe, tmp_path: Path) -> None:
    for name, fields, message in (
        ("flowers5_resnet50", ["model.name=axial_deeplab_s"], "is no classifier"),
        ("scenes_small", ["model.name=resnet50"], "is no segmentation model"),
    ):
        with pytest.raises(InputError, match=message):
            train(load_recipe(name, [*fields, *([f"data.root={recipe.data.root}"] * (name[0] == "f"))]), tmp_path / "r")
