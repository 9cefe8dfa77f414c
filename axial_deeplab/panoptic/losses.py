"""The three losses of panoptic training, from the full-size outputs of a model and the targets.

Each pixel loss is weighted, summed over the image and divided by the number of pixels that lost anything; the semantic
loss counts the hardest pixels only. Source: Panoptic-DeepLab (arXiv 1911.10194), section 3; deeplab2, model/loss.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from axial_deeplab.records import IGNORE_LABEL, PanopticOutput, PanopticTargets


@dataclass(frozen=True)
class LossWeights:
    """Factors of the three losses in their sum."""

    semantic: float = 1.0
    center: float = 200.0
    offset: float = 0.01


DEFAULT_WEIGHTS = LossWeights()
"""LossWeights: The published ones."""


def panoptic_loss(
    output: PanopticOutput, targets: PanopticTargets, *, weights: LossWeights = DEFAULT_WEIGHTS, top_k: float = 0.2
) -> dict[str, Tensor]:
    """Return the weighted losses of a batch: "semantic", "center", "offset" and their sum "total", each a scalar.

    Args:
        output: The heads at the size of the targets. Half precision is cast up; the arithmetic is float32 or better.
        targets: From `encode_targets`.
        weights: Factor of each loss.
        top_k: Fraction of an image's pixels, 0 < top_k <= 1, whose semantic loss counts: the largest ones. The whole is
            all pixels, ignored ones too.
    """
    per_image = compute_panoptic_losses_per_image(output, targets, weights=weights, top_k=top_k)
    return {name: loss.mean() for name, loss in per_image.items()}


def compute_panoptic_losses_per_image(
    output: PanopticOutput, targets: PanopticTargets, *, weights: LossWeights = DEFAULT_WEIGHTS, top_k: float = 0.2
) -> dict[str, Tensor]:
    """Return what `panoptic_loss` returns before the mean over images: tensors of shape [batch].

    Raises:
        ValueError: `top_k` is outside (0, 1], or outputs and targets differ in size.
    """
    if not 0 < top_k <= 1:
        raise ValueError(f"top_k is a fraction of the pixels, 0 < top_k <= 1, not {top_k}")
    size = targets.semantic.shape[-2:]
    if any(head.shape[-2:] != size for head in output):
        sizes = [tuple(head.shape[-2:]) for head in output]
        raise ValueError(f"the heads have the sizes {sizes}, the targets {tuple(size)}: resize the heads first")
    losses = {
        "semantic": weights.semantic * _average_losing(_keep_hardest(_compute_semantic_loss(output, targets), top_k)),
        "center": weights.center * _average_losing(_compute_center_loss(output, targets)),
        "offset": weights.offset * _average_losing(_compute_offset_loss(output, targets)),
    }
    return losses | {"total": losses["semantic"] + losses["center"] + losses["offset"]}


def _compute_semantic_loss(output: PanopticOutput, targets: PanopticTargets) -> Tensor:
    """Return the weighted cross-entropy of each pixel, 0 where ignored; [batch, height, width]."""
    logits = _cast_up(output.semantic_logits)
    return targets.semantic_weight * F.cross_entropy(
        logits, targets.semantic, ignore_index=IGNORE_LABEL, reduction="none"
    )


def _compute_center_loss(output: PanopticOutput, targets: PanopticTargets) -> Tensor:
    """Return the weighted squared error of each pixel of the heatmap; [batch, height, width]."""
    error = _cast_up(output.center_heatmap).squeeze(1) - targets.center_heatmap
    return targets.center_weight * error.square()


def _compute_offset_loss(output: PanopticOutput, targets: PanopticTargets) -> Tensor:
    """Return the weighted absolute error of each pixel, averaged over y and x; [batch, height, width]."""
    error = _cast_up(output.offset) - targets.offset
    return targets.offset_weight * error.abs().mean(dim=1)


def _keep_hardest(pixel_loss: Tensor, top_k: float) -> Tensor:
    """Return the largest losses of each image, [batch, k] in no order; k = round(top_k * height * width)."""
    pixel_loss = pixel_loss.flatten(1)
    if top_k == 1:
        return pixel_loss
    return pixel_loss.topk(round(top_k * pixel_loss.shape[1]), dim=1, sorted=False).values


def _average_losing(pixel_loss: Tensor) -> Tensor:
    """Return the mean over the non-zero losses of each image, 0 where there is none; [batch]."""
    pixel_loss = pixel_loss.flatten(1)
    return pixel_loss.sum(1) / (pixel_loss != 0).sum(1).clamp(min=1)


def _cast_up(values: Tensor) -> Tensor:
    """Return `values` in float32 if they are of half precision, as they are otherwise."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
