"""Runs end to end on the CPU: what they leave, how they resume, how they stop."""

import dataclasses
import json
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from axial_deeplab.data.scenes import make_scene
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.panoptic_quality import PanopticReport, Quality
from axial_deeplab.predict import load
from axial_deeplab.training import tasks
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.run import train


class FixedQuality(NamedTuple):
    """A score that was decided beforehand."""

    pq: float

    def compute(self) -> PanopticReport:
        quality = Quality(self.pq, 1.0, self.pq, 1)
        return PanopticReport(quality, quality, quality, {})


def watch_losses(monkeypatch: pytest.MonkeyPatch, *, interrupt_at: int | None = None) -> list[float]:
    """Return the list that collects the loss of every step; at one of them, press Ctrl-C."""
    losses: list[float] = []
    compute = tasks.panoptic_loss

    def watch(output, targets, **options):
        if len(losses) + 1 == interrupt_at:
            raise KeyboardInterrupt
        result = compute(output, targets, **options)
        losses.append(float(result["total"].detach()))
        return result

    monkeypatch.setattr(tasks, "panoptic_loss", watch)
    return losses


def test_run_leaves_what_it_promises(tiny_recipe: Recipe, tmp_path: Path) -> None:
    result = train(tiny_recipe, tmp_path)
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert {"All", "Things", "Stuff", "steps", "seconds", "images_per_second", "parameters"} <= result.keys()
    assert (result["steps"], result["images"]) == (6, 12)
    assert json.loads((tmp_path / "versions.json").read_text())["packages"]["torch"] == torch.__version__
    assert list(tmp_path.glob("logs/version_0/events.out.tfevents.*"))
    prediction = load(tmp_path / "checkpoint")(make_scene(7, 64).image.permute(1, 2, 0).numpy())
    assert prediction.panoptic_map.shape == (64, 64)


def test_exported_weights_are_the_averaged_ones_of_the_best_score(tiny_recipe: Recipe, tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    exported = load(tmp_path / "checkpoint").model.state_dict()
    name = "encoder.stem.0.conv.weight"
    assert torch.equal(exported[name], best["state_dict"][f"model.{name}"])
    assert not torch.equal(exported[name], best["current_model_state"][f"model.{name}"])


def test_resumed_run_repeats_the_uninterrupted_one(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with monkeypatch.context() as patch:
        expected = watch_losses(patch)
        result = train(tiny_recipe, whole)
    with monkeypatch.context() as patch:
        before = watch_losses(patch, interrupt_at=4)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe, broken)
    assert before == expected[:3]
    assert not (broken / "result.json").exists()
    with monkeypatch.context() as patch:
        after = watch_losses(patch)
        resumed = train(tiny_recipe, broken, resume=True)
    assert after == expected[2:]  # from the last score on, step 2
    assert (resumed["All"], resumed["images"]) == (result["All"], 12)
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, broken)]
    for key in ("state_dict", "current_model_state"):
        for name, value in states[0][key].items():
            assert torch.equal(value, states[1][key][name]), name


def test_moved_run_keeps_its_best_score(tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.1, 0.2])
    monkeypatch.setattr(tasks, "gather_quality", lambda *_: FixedQuality(next(scores)))
    with monkeypatch.context() as patch:
        watch_losses(patch, interrupt_at=4)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    result = train(tiny_recipe, tmp_path / "there", resume=True)
    assert (result["All"]["pq"], result["step"]) == (0.9, 2)


def test_resume_does_not_read_the_initial_weights_again(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tiny_recipe, tmp_path / "first")
    initial = tmp_path / "first" / "checkpoint"
    tuned = dataclasses.replace(tiny_recipe, model=dataclasses.replace(tiny_recipe.model, init=str(initial)))
    with monkeypatch.context() as patch:
        watch_losses(patch, interrupt_at=4)
        with pytest.raises(KeyboardInterrupt):
            train(tuned, tmp_path / "tuned")
    initial.rename(tmp_path / "away")
    assert train(tuned, tmp_path / "tuned", resume=True)["steps"] == first["steps"]


def test_every_step_can_be_scored_and_kept(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch_losses(monkeypatch, interrupt_at=2)
    with pytest.raises(KeyboardInterrupt):
        train(dataclasses.replace(tiny_recipe, val_every=1), tmp_path)
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 1


def test_resume_without_a_checkpoint_begins(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        watch_losses(patch, interrupt_at=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe, tmp_path)
    assert train(tiny_recipe, tmp_path, resume=True)["steps"] == 6


def test_finished_run_is_not_repeated(tiny_recipe: Recipe, tmp_path: Path) -> None:
    first = train(tiny_recipe, tmp_path)
    with pytest.raises(InputError, match="--resume"):
        train(tiny_recipe, tmp_path)
    assert train(tiny_recipe, tmp_path, resume=True) == first


def test_resume_refuses_another_recipe(tiny_recipe: Recipe, tmp_path: Path) -> None:
    train(tiny_recipe, tmp_path)
    other = dataclasses.replace(tiny_recipe, optimizer=dataclasses.replace(tiny_recipe.optimizer, lr=1.0))
    with pytest.raises(InputError, match=r"optimizer\.lr"):
        train(other, tmp_path, resume=True)


@pytest.mark.parametrize("spoiled", ["loss", "gradient"])
def test_divergence_stops_with_step_images_and_checkpoint(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoiled: str
) -> None:
    compute, calls = tasks.panoptic_loss, iter(range(1, 1000))

    def spoil(output, targets, **options):
        losses = compute(output, targets, **options)
        if next(calls) == 4:
            total = losses["total"]
            losses["total"] = total * math.nan if spoiled == "loss" else total + (total - total.detach()).sqrt()
        return losses

    monkeypatch.setattr(tasks, "panoptic_loss", spoil)
    with pytest.raises(InputError) as caught:
        train(tiny_recipe, tmp_path)
    last = tmp_path / "checkpoints" / "last.ckpt"
    for part in ("step 3", "scene_0000", str(last), "optimizer.lr"):
        assert part in str(caught.value)
    weights = torch.load(last, weights_only=True)["current_model_state"]
    assert all(value.isfinite().all() for value in weights.values())


def test_patience_stops_early(tiny_recipe: Recipe, tmp_path: Path) -> None:
    frozen = dataclasses.replace(tiny_recipe.optimizer, lr=1e-12)
    recipe = dataclasses.replace(tiny_recipe, iterations=20, patience=1, ema_decay=0.0, optimizer=frozen)
    assert train(recipe, tmp_path)["steps"] < 20


def test_accumulation_takes_as_many_steps(tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe, batch_size=1, accumulate=2)
    result = train(recipe, tmp_path)
    assert (result["steps"], result["images"]) == (6, 12)
