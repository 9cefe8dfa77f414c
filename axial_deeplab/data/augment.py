"""Random scale, crop, flip and color for training.

The crop is chosen in the source image and only the pixels inside it are resized: the cost follows the crop, not the
image.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from axial_deeplab.data.transforms import fit_longest_side, measure_segments, resize_image, resize_map
from axial_deeplab.errors import InputError
from axial_deeplab.records import VOID_ID, PanopticRecord

PAD_GRAY = 128
"""int: Value of the pixels around an image smaller than the crop: near zero once normalized."""


@dataclass(frozen=True)
class AugmentConfig:
    """What may happen to a training image.

    Attributes:
        crop_size: Height and width of the result; stride * k + 1 lets strided feature maps nest.
        min_scale: Smallest factor of the random scale.
        max_scale: Largest factor of the random scale.
        scale_steps: Number of equally spaced factors to choose from; None draws from the whole interval.
        longest_side: Before the random scale, resize the longer side to this many pixels; None keeps the size.
        flip: Probability of mirroring left and right.
        vertical_flip: Probability of mirroring top and bottom.
        color_jitter: Strength s in 0..1; brightness, contrast and saturation are each multiplied by a factor from
            [1 - s, 1 + s]. 0 leaves the colors alone.
    """

    crop_size: tuple[int, int]
    min_scale: float = 0.5
    max_scale: float = 2.0
    scale_steps: int | None = None
    longest_side: int | None = None
    flip: float = 0.5
    vertical_flip: float = 0.0
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers, so that a bad recipe fails before the first image."""
        object.__setattr__(self, "crop_size", tuple(self.crop_size))
        if len(self.crop_size) != 2 or min(self.crop_size) < 1:
            raise InputError(f"crop_size needs a height and a width of at least 1 pixel, not {self.crop_size}")
        if not 0 < self.min_scale <= self.max_scale:
            raise InputError(f"need 0 < min_scale <= max_scale, not {self.min_scale} and {self.max_scale}")
        if any(value is not None and value < 1 for value in (self.scale_steps, self.longest_side)):
            raise InputError("scale_steps and longest_side must be at least 1, or null")
        for name in ("flip", "vertical_flip", "color_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in 0..1, not {getattr(self, name)}")


class _Window(NamedTuple):
    """One axis of the crop: source pixels [start, start + length) become [pad, pad + target) of the result."""

    start: int
    length: int
    target: int
    pad: int


def augment(record: PanopticRecord, config: AugmentConfig, generator: np.random.Generator) -> PanopticRecord:
    """Return a randomly scaled, cropped or padded, flipped and recolored copy of a record.

    The same state of the generator gives the same result. Images are resized bilinearly and antialiased, ids by
    selection of the nearest pixel. An image smaller than the crop lies at a random place among gray pixels and
    `VOID_ID`. Segments that left the crop are dropped, areas are counted anew.

    Source: the order scale, pad, crop, flip and the random place of the padding follow deeplab2, data/preprocessing.
    """
    size = (record.panoptic_map.shape[0], record.panoptic_map.shape[1])
    scale = _draw_scale(config, generator)
    scaled = [max(1, int(side * scale)) for side in fit_longest_side(size, config.longest_side)]
    rows, columns = (_draw_window(*sides, generator) for sides in zip(size, scaled, config.crop_size, strict=True))
    flipped = [axis for axis, chance in ((-2, config.vertical_flip), (-1, config.flip)) if generator.random() < chance]
    image = resize_image(_cut(record.image, rows, columns), (rows.target, columns.target))
    if config.color_jitter > 0:
        image = jitter_color(image, config.color_jitter, generator)
    panoptic_map = resize_map(_cut(record.panoptic_map, rows, columns), (rows.target, columns.target))
    image = _place(image, config.crop_size, (rows, columns), PAD_GRAY).flip(flipped)
    panoptic_map = _place(panoptic_map, config.crop_size, (rows, columns), VOID_ID).flip(flipped)
    segments = tuple(measure_segments(panoptic_map, record.segments))
    return record._replace(image=image, panoptic_map=panoptic_map, segments=segments, blamed=None)


def jitter_color(image: Tensor, strength: float, generator: np.random.Generator) -> Tensor:
    """Multiply brightness, contrast and saturation, in this order, by random factors from [1 - strength, 1 + strength].

    Contrast stretches the distance from the mean gray of the image, saturation the distance from the pixel's own gray.

    Args:
        image: uint8 [3, height, width], RGB.
        strength: In 0..1.
        generator: Source of the three factors.
    """
    return scale_color(image, *generator.uniform(1 - strength, 1 + strength, size=3).tolist())


def scale_color(image: Tensor, brightness: float, contrast: float, saturation: float) -> Tensor:
    """Multiply brightness, contrast and saturation of an image, uint8 [3, height, width], as `jitter_color` describes."""
    pixels = image.float().mul_(brightness)
    weights = torch.tensor((0.299, 0.587, 0.114))  # ITU-R BT.601 luma
    gray = torch.tensordot(weights, pixels, dims=1)  # [height, width]
    mean = gray.mean()
    # Both steps are linear in the pixel: gray and color part are scaled apart.
    pixels.sub_(gray).mul_(contrast * saturation).add_(gray.sub_(mean).mul_(contrast).add_(mean))
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def _draw_scale(config: AugmentConfig, generator: np.random.Generator) -> float:
    """Draw the factor of the random scale."""
    if config.scale_steps is None:
        return float(generator.uniform(config.min_scale, config.max_scale))
    return float(generator.choice(np.linspace(config.min_scale, config.max_scale, config.scale_steps)))


def _draw_window(size: int, scaled: int, crop: int, generator: np.random.Generator) -> _Window:
    """Choose where along one axis the crop lies in the source, or the whole source in the crop."""
    if scaled <= crop:
        return _Window(0, size, scaled, pad=int(generator.integers(crop - scaled + 1)))
    length = min(size, round((crop - 1) * (size - 1) / (scaled - 1)) + 1)
    return _Window(int(generator.integers(size - length + 1)), length, crop, pad=0)


def _cut(values: Tensor, rows: _Window, columns: _Window) -> Tensor:
    """Return the part of [..., height, width] inside the windows."""
    return values[..., rows.start : rows.start + rows.length, columns.start : columns.start + columns.length]


def _place(values: Tensor, size: tuple[int, int], windows: tuple[_Window, _Window], fill: int) -> Tensor:
    """Put the resized part at its place in a crop filled with one value."""
    rows, columns = windows
    if (rows.target, columns.target) == size:
        return values
    crop = values.new_full((*values.shape[:-2], *size), fill)
    crop[..., rows.pad : rows.pad + rows.target, columns.pad : columns.pad + columns.target] = values
    return crop
