"""panoptic_loss against the golden losses and gradients, and the float64 loops."""

import numpy as np
import pytest
import torch

from axial_deeplab.panoptic.losses import LossWeights, compute_panoptic_losses_per_image, panoptic_loss
from axial_deeplab.records import IGNORE_LABEL, PanopticOutput, PanopticTargets
from tests.oracles.losses import compute_center_loss, compute_offset_loss, compute_semantic_loss
from tests.panoptic.golden_cases import LossCase

GOLDEN_NAMES = {"semantic": "semantic", "center": "center", "offset": "regression", "total": "total"}


def test_losses_equal_golden(loss_case: LossCase) -> None:
    top_k = loss_case.meta["top_k_percent"]["semantic"]
    losses = compute_panoptic_losses_per_image(loss_case.draw_output(), loss_case.targets, top_k=top_k)
    for name, golden in GOLDEN_NAMES.items():
        expected = loss_case.arrays[f"loss/{golden}_loss"]
        np.testing.assert_allclose(losses[name].detach().numpy(), expected, rtol=1e-6, err_msg=name)


def test_gradients_equal_golden(loss_case: LossCase) -> None:
    top_k = loss_case.meta["top_k_percent"]["semantic"]
    output = loss_case.draw_output()
    total = compute_panoptic_losses_per_image(output, loss_case.targets, top_k=top_k)["total"].sum()
    semantic, center, offset = (gradient.numpy() for gradient in torch.autograd.grad(total, list(output)))
    arrays, semantic = loss_case.arrays, np.moveaxis(semantic, 1, 3)
    if "grad/semantic_logits_ch8" in arrays:
        arrays, semantic = arrays | {"grad/semantic_logits": arrays["grad/semantic_logits_ch8"]}, semantic[..., ::8]
    for name, ours in (
        ("semantic_logits", semantic),
        ("center_heatmap", center[:, 0]),
        ("offset_map", np.moveaxis(offset, 1, 3)),
    ):
        expected = arrays[f"grad/{name}"]
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max(), err_msg=name)


def make_batch(seed: int, shape: tuple[int, int, int], num_classes: int = 5) -> tuple[PanopticOutput, PanopticTargets]:
    """Return random heads and random targets in which every kind of weight occurs."""
    generator = torch.Generator().manual_seed(seed)
    batch, height, width = shape
    semantic = torch.randint(0, num_classes, shape, generator=generator)
    semantic[torch.rand(shape, generator=generator) < 0.3] = IGNORE_LABEL
    targets = PanopticTargets(
        semantic=semantic,
        semantic_weight=1.0 + 2 * (torch.rand(shape, generator=generator) < 0.3),
        center_heatmap=torch.rand(shape, generator=generator),
        center_weight=(torch.rand(shape, generator=generator) < 0.8).float(),
        offset=torch.randn(batch, 2, height, width, generator=generator) * 9,
        offset_weight=(torch.rand(shape, generator=generator) < 0.5).float(),
    )
    output = PanopticOutput(
        semantic_logits=torch.randn(batch, num_classes, height, width, generator=generator) * 3,
        center_heatmap=torch.rand(batch, 1, height, width, generator=generator),
        offset=torch.randn(batch, 2, height, width, generator=generator) * 9,
    )
    return output, targets


@pytest.mark.parametrize("top_k", [0.05, 0.2, 0.9, 1.0])
def test_equals_loops(top_k: float) -> None:
    output, targets = make_batch(1, (2, 13, 17))
    weights = LossWeights(semantic=0.5, center=7.0, offset=0.1)
    losses = compute_panoptic_losses_per_image(output, targets, weights=weights, top_k=top_k)
    heads, labels = [head.numpy() for head in output], [target.numpy() for target in targets]
    for image in range(2):
        logits, heatmap, offset = (head[image] for head in heads)
        semantic, semantic_weight, center, center_weight, offset_target, offset_weight = (
            label[image] for label in labels
        )
        expected = {
            "semantic": 0.5 * compute_semantic_loss(logits, semantic, semantic_weight, top_k),
            "center": 7.0 * compute_center_loss(heatmap[0], center, center_weight),
            "offset": 0.1 * compute_offset_loss(offset, offset_target, offset_weight),
        }
        expected["total"] = sum(expected.values())
        for name, value in expected.items():
            assert losses[name][image].item() == pytest.approx(value, rel=1e-5), name


def test_batch_mean() -> None:
    output, targets = make_batch(2, (3, 9, 9))
    per_image = compute_panoptic_losses_per_image(output, targets)
    for name, value in panoptic_loss(output, targets).items():
        assert value.shape == ()
        assert value == per_image[name].mean()


def test_the_mean_is_over_losing_pixels_only() -> None:
    output, targets = make_batch(7, (1, 8, 8))
    one = torch.zeros(1, 8, 8)
    one[0, 3, 4] = 1
    targets = targets._replace(center_weight=one, offset_weight=one)
    losses = panoptic_loss(output, targets, weights=LossWeights(center=1.0, offset=1.0))
    error = output.center_heatmap[0, 0, 3, 4] - targets.center_heatmap[0, 3, 4]
    assert losses["center"].item() == pytest.approx(error.item() ** 2)
    distance = (output.offset - targets.offset)[0, :, 3, 4].abs().mean()
    assert losses["offset"].item() == pytest.approx(distance.item())


def test_nothing_to_learn_gives_zero_and_finite_gradients() -> None:
    output, targets = make_batch(3, (2, 8, 8))
    output = PanopticOutput(*(head.requires_grad_() for head in output))
    zero = torch.zeros(2, 8, 8)
    targets = targets._replace(semantic=torch.full((2, 8, 8), IGNORE_LABEL), center_weight=zero, offset_weight=zero)
    losses = panoptic_loss(output, targets)
    assert all(value == 0 for value in losses.values())
    for gradient in torch.autograd.grad(losses["total"], list(output)):
        assert not gradient.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_heads_are_cast_up(dtype: torch.dtype) -> None:
    output, targets = make_batch(4, (2, 33, 33))
    half = PanopticOutput(*(head.to(dtype) for head in output))
    expected = panoptic_loss(PanopticOutput(*(head.float() for head in half)), targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = panoptic_loss(half, targets)
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert value == expected[name], name


def test_gradients_in_float64() -> None:
    output, targets = make_batch(5, (1, 4, 5), num_classes=3)
    heads = [head.double().requires_grad_() for head in output]
    targets = PanopticTargets(targets.semantic, *(target.double() for target in targets[1:]))
    assert torch.autograd.gradcheck(lambda *given: panoptic_loss(PanopticOutput(*given), targets)["total"], heads)


def test_bad_arguments() -> None:
    output, targets = make_batch(6, (1, 4, 4))
    for top_k in (0.0, 1.1):
        with pytest.raises(ValueError, match="top_k"):
            panoptic_loss(output, targets, top_k=top_k)
    with pytest.raises(ValueError, match="resize the heads"):
        panoptic_loss(output._replace(offset=output.offset[..., :3]), targets)
