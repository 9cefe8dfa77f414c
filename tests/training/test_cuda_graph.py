"""The encoder as CUDA graphs: the same training on a GPU, one line elsewhere."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch

from axial_deeplab.errors import InputError
from axial_deeplab.models import axial_resnet_nano
from axial_deeplab.predict import load
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.cuda_graph import replay_module
from axial_deeplab.training.run import train
from tests.training.test_run import watch_losses

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_accumulated_gradients_are_refused(tiny_recipe: Recipe) -> None:
    with pytest.raises(InputError, match="accumulate"):
        dataclasses.replace(tiny_recipe, cuda_graph=True, accumulate=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_graphs_need_a_gpu(tiny_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a GPU"):
        train(dataclasses.replace(tiny_recipe, cuda_graph=True), tmp_path)


def test_several_devices_are_refused(tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match="one device"):
        train(dataclasses.replace(tiny_recipe, cuda_graph=True, devices=2), tmp_path)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_replayed_run_is_the_launched_one(
    precision: str, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses, scores and the running statistics in the checkpoint."""
    found = []
    for replayed in (False, True):
        recipe = dataclasses.replace(tiny_recipe, devices=1, precision=precision, cuda_graph=replayed)
        with monkeypatch.context() as patch:
            losses = watch_losses(patch)
            result = train(recipe, tmp_path / str(replayed))
        weights = torch.load(tmp_path / str(replayed) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        found.append((losses, result["All"]["pq"], weights))
    (launched, pq, weights), (replayed_losses, replayed_pq, replayed_weights) = found
    tolerance = 1e-3 if precision == "32-true" else 3e-2
    assert replayed_losses == pytest.approx(launched, rel=tolerance)
    assert replayed_pq == pytest.approx(pq, abs=100 * tolerance)
    for name, value in weights.items():
        if value.is_floating_point():
            torch.testing.assert_close(replayed_weights[name], value, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.gpu
@needs_gpu
def test_replayed_classifier_computes_the_same() -> None:
    """Gradients and running statistics of one step."""
    torch.manual_seed(0)
    launched = axial_resnet_nano(5).to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
    replayed = copy.deepcopy(launched)
    images = torch.randn(4, 3, 33, 33, device="cuda")
    replay_module(replayed, images, bfloat16=False)
    for model in (launched, replayed):
        model(images).square().sum().backward()
    for (name, ours), theirs in zip(replayed.named_parameters(), launched.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-2, atol=1e-2, msg=name)
    for (name, ours), theirs in zip(replayed.named_buffers(), launched.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.gpu
@needs_gpu
def test_folded_norms_lose_no_more_than_bfloat16_does(tiny_recipe: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny_recipe, devices=1), tmp_path)
    images = torch.rand(1, 3, 65, 65, device="cuda")
    folded = load(tmp_path / "checkpoint")
    assert folded.use_bfloat16
    plain = load(tmp_path / "checkpoint", "cpu").model.to("cuda")
    with torch.inference_mode():
        exact = plain(images)
        with torch.autocast("cuda", torch.bfloat16):
            found = zip(exact, plain(images), folded.model(images), strict=True)
    for truth, rounded, ours in found:
        assert (ours.float() - truth).norm() < 2 * (rounded.float() - truth).norm() + 1e-3 * truth.norm()
