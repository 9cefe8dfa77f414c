"""Turn labels into what the three heads should say.

An instance is described by one point, the rounded mean of its pixel coordinates. The center head should draw a Gaussian
there, the offset head should point there from each pixel of the instance.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from axial_deeplab.records import IGNORE_LABEL, PanopticTargets

PATCH_VALUES_AT_ONCE = 2**22
"""int: Heatmap values drawn at once; bounds the memory for images with thousands of instances."""


class _Instances(NamedTuple):
    """The instances of a batch, and the pixels that they own."""

    pixel: Tensor  # int64 [pixel], position in the flattened [batch, height, width]
    owner: Tensor  # int64 [pixel], 0 .. instances - 1
    image: Tensor  # int64 [instance], 0 .. batch - 1
    area: Tensor  # int64 [instance], pixels
    center: Tensor  # int64 [instance, 2], (y, x)


def encode_targets(
    semantic: Tensor,
    instance: Tensor,
    crowd: Tensor | None = None,
    *,
    sigma: float = 8.0,
    small_instance_area: int = 4096,
    small_instance_weight: float = 3.0,
) -> PanopticTargets:
    """Encode the labels of a batch as targets and pixel weights of the three heads.

    * Semantic: the class; weight 1, but `small_instance_weight` on instances below `small_instance_area` pixels.
    * Center: a Gaussian at the center of each instance, cut to a square of side int(6 sigma + 3), merged by maximum;
      weight 1 wherever the class is known and the pixel is not crowd, on stuff too.
    * Offset: the center of the pixel's instance minus the pixel; weight 1 on the pixels of instances, else 0.

    The center is the mean coordinate rounded half to even, so that heatmap and offsets agree to the pixel. Pixels that
    are crowd or have `IGNORE_LABEL` belong to no instance; crowd pixels keep the class they are given.

    Args:
        semantic: Integer [batch, height, width], contiguous class or `IGNORE_LABEL`.
        instance: Integer [batch, height, width], 0 for none; an id names one instance of one image, whatever its class.
        crowd: Bool [batch, height, width], or None for no crowd.
        sigma: Standard deviation of the Gaussian in pixels. This default and the next are the public settings for Cityscapes;
            `axial-deeplab dataset check` fits them to other data.
        small_instance_area: In pixels, exclusive.
        small_instance_weight: Semantic weight of small instances.

    Returns:
        Targets on the device of `semantic`.

    Raises:
        ValueError: The shapes differ, or `sigma` is not positive.

    Source: Panoptic-DeepLab (arXiv 1911.10194), section 3; deeplab2, data/sample_generator.
    """
    if semantic.dim() != 3 or semantic.shape != instance.shape or (crowd is not None and crowd.shape != semantic.shape):
        raise ValueError("semantic, instance and crowd must have one shape, [batch, height, width]")
    if sigma <= 0:
        raise ValueError(f"sigma must be positive, not {sigma}")
    counted = semantic != IGNORE_LABEL
    if crowd is not None:
        counted = counted & ~crowd
    owned = counted & (instance > 0)
    found = _measure_instances(instance, owned)
    semantic_weight = torch.ones(semantic.shape, device=semantic.device)
    semantic_weight.view(-1)[found.pixel[(found.area < small_instance_area)[found.owner]]] = small_instance_weight
    return PanopticTargets(
        semantic=semantic.long(),
        semantic_weight=semantic_weight,
        center_heatmap=_draw_heatmap(found, semantic.shape, sigma),
        center_weight=counted.float(),
        offset=_point_to_centers(found, semantic.shape),
        offset_weight=owned.float(),
    )


def _measure_instances(instance: Tensor, owned: Tensor) -> _Instances:
    """Find the instances of all images at once: where their pixels are, how many, and around which center."""
    _, height, width = instance.shape
    pixel = owned.flatten().nonzero().squeeze(1)
    ids = instance.flatten()[pixel].long()
    # One key per (image, id): unique() then numbers the instances of the whole batch, however large the ids are.
    stride = instance.max().long() + 1
    key, owner, area = torch.unique(pixel // (height * width) * stride + ids, return_inverse=True, return_counts=True)
    coordinate = torch.stack((pixel // width % height, pixel % width), dim=1)
    total = coordinate.new_zeros(len(key), 2).index_add_(0, owner, coordinate)
    return _Instances(pixel, owner, key // stride, area, _round_quotient(total, area[:, None]))


def _round_quotient(total: Tensor, count: Tensor) -> Tensor:
    """Return total / count rounded half to even, exactly, for integers >= 0 and > 0."""
    quotient = total // count
    twice_rest = 2 * (total - quotient * count)
    return quotient + ((twice_rest > count) | ((twice_rest == count) & (quotient % 2 == 1)))


def _draw_heatmap(found: _Instances, shape: torch.Size, sigma: float) -> Tensor:
    """Draw a Gaussian at each center and merge them by maximum; float32 [batch, height, width]."""
    _, height, width = shape
    device = found.center.device
    patch = _make_gaussian(sigma).to(device)  # [side, side]
    radius = patch.shape[0] // 2
    step = torch.arange(-radius, radius + 1, device=device)
    heatmap = torch.zeros(shape.numel(), device=device)
    chunk = max(1, PATCH_VALUES_AT_ONCE // patch.numel())
    for image, center in zip(found.image.split(chunk), found.center.split(chunk), strict=True):
        y, x = center[:, :1] + step, center[:, 1:] + step  # [instance, side]
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        # What falls outside lands on the border as 0, which no maximum notices.
        row = image[:, None] * height + y.clamp(0, height - 1)
        index = row[:, :, None] * width + x.clamp(0, width - 1)[:, None, :]
        heatmap.scatter_reduce_(0, index.flatten(), (patch * inside).flatten(), "amax")
    return heatmap.view(shape)


def _make_gaussian(sigma: float) -> Tensor:
    """Return a Gaussian with peak 1 on an odd square of side int(6 sigma + 3), or one less; float32."""
    radius = (int(6 * sigma + 3) - 1) // 2
    distance = torch.arange(-radius, radius + 1, dtype=torch.float64)
    square = distance[:, None] ** 2 + distance**2
    return torch.exp(-square / (2 * sigma**2)).float()


def _point_to_centers(found: _Instances, shape: torch.Size) -> Tensor:
    """Return the vector from each owned pixel to its center, (y, x), 0 elsewhere; float32 [batch, 2, height, width]."""
    batch, height, width = shape
    vector = found.center[found.owner] - torch.stack((found.pixel // width % height, found.pixel % width), dim=1)
    offset = torch.zeros(batch, height, width, 2, device=vector.device)
    offset.view(-1, 2)[found.pixel] = vector.float()
    return offset.permute(0, 3, 1, 2).contiguous()
