"""Augment images for the training of a classifier: inception crop, mirroring, color jitter, AutoAugment."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from axial_deeplab.data.augment import scale_color
from axial_deeplab.data.classification.auto_augment import auto_augment
from axial_deeplab.data.classification.decode import choose_reduction, decode_image, measure_image
from axial_deeplab.data.classification.records import ClassifiedImage, EncodedImage
from axial_deeplab.errors import InputError

ATTEMPTS = 10
"""int: Crops that are drawn before a crop from the center is taken."""


@dataclass(frozen=True)
class ClassAugmentConfig:
    """What may happen to a training image. The defaults are the usual ones for ImageNet.

    Attributes:
        crop: Height and width of the result, in pixels.
        min_area: Smallest share of the image's area that a crop covers.
        max_area: Largest share.
        min_ratio: Smallest ratio of width to height of a crop.
        max_ratio: Largest ratio.
        flip: Probability of mirroring left and right.
        color_jitter: Strength s in 0..1; brightness, contrast and saturation are each multiplied by a factor from
            [1 - s, 1 + s]. 0 leaves the colors alone.
        auto_augment: Apply a random sub-policy of AutoAugment for ImageNet.
    """

    crop: int = 224
    min_area: float = 0.08
    max_area: float = 1.0
    min_ratio: float = 3 / 4
    max_ratio: float = 4 / 3
    flip: float = 0.5
    color_jitter: float = 0.0
    auto_augment: bool = False

    def __post_init__(self) -> None:
        """Check the numbers, so that a bad recipe fails before the first image."""
        if self.crop < 1:
            raise InputError(f"crop must be at least 1 pixel, not {self.crop}")
        if not 0 < self.min_area <= self.max_area <= 1:
            raise InputError(f"need 0 < min_area <= max_area <= 1, not {self.min_area} and {self.max_area}")
        if not 0 < self.min_ratio <= self.max_ratio:
            raise InputError(f"need 0 < min_ratio <= max_ratio, not {self.min_ratio} and {self.max_ratio}")
        for name in ("flip", "color_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in 0..1, not {getattr(self, name)}")


class Crop(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def draw_crop(size: tuple[int, int], config: ClassAugmentConfig, generator: torch.Generator) -> Crop:
    """Draw an inception crop: area uniform, ratio uniform in its logarithm, place uniform.

    If none of `ATTEMPTS` crops fits into the image, the largest crop from the center with an allowed ratio is taken.

    Source: Szegedy et al., "Going deeper with convolutions", section 6; the number of attempts and the way out are the
    field's.
    """
    height, width = size
    logs = math.log(config.min_ratio), math.log(config.max_ratio)
    for area, ratio, y, x in torch.rand(ATTEMPTS, 4, generator=generator).tolist():
        pixels = height * width * (config.min_area + area * (config.max_area - config.min_area))
        aspect = math.exp(logs[0] + ratio * (logs[1] - logs[0]))
        rows, columns = round(math.sqrt(pixels / aspect)), round(math.sqrt(pixels * aspect))
        if 0 < rows <= height and 0 < columns <= width:
            return Crop(int(y * (height - rows + 1)), int(x * (width - columns + 1)), rows, columns)
    columns = max(1, min(width, round(height * config.max_ratio)))
    rows = max(1, min(height, round(width / config.min_ratio)))
    return Crop((height - rows) // 2, (width - columns) // 2, rows, columns)


def augment_class(image: Tensor, config: ClassAugmentConfig, generator: torch.Generator) -> Tensor:
    """Return a random crop of an image, resized, perhaps mirrored and recolored.

    The same image, config and state of the generator give the same result.

    Args:
        image: uint8 [3, height, width], RGB.
        config: What may happen.
        generator: Source of all choices, on the CPU.

    Returns:
        uint8 [3, crop, crop].
    """
    crop = draw_crop((image.shape[1], image.shape[2]), config, generator)
    return _change(cut_resized(image, crop, config.crop), config, generator)


def augment_encoded(encoded: EncodedImage, config: ClassAugmentConfig, generator: torch.Generator) -> ClassifiedImage:
    """Do what `augment_class` does with an image file, and decode no more detail than the crop needs.

    Raises:
        InputError: The image cannot be read; names the file.
    """
    crop = draw_crop(measure_image(encoded.data, encoded.file_name), config, generator)
    reduction = choose_reduction((crop.height, crop.width), (config.crop, config.crop))
    image = decode_image(encoded.data, encoded.file_name, reduction=reduction)
    changed = _change(cut_resized(image, _reduce_crop(crop, reduction), config.crop), config, generator)
    return ClassifiedImage(changed, encoded.label, encoded.file_name)


def _reduce_crop(crop: Crop, reduction: int) -> Crop:
    """Return the same part of an image that is smaller by `reduction`, its sides at the nearest border of a pixel."""
    top, left, bottom, right = (
        (side + reduction // 2) // reduction
        for side in (crop.top, crop.left, crop.top + crop.height, crop.left + crop.width)
    )
    return Crop(top, left, bottom - top, right - left)


def cut_resized(image: Tensor, crop: Crop, side: int) -> Tensor:
    """Cut a crop and resize it to a square, bilinear and antialiased; no pixel outside of the crop counts.

    Args:
        image: uint8 [3, height, width].
        crop: A part of the image.
        side: Height and width of the result.
    """
    part = image[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    return resize_antialiased(part, (side, side))


def resize_antialiased(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 [3, height, width], bilinear with antialiasing, pixel areas aligned as classifiers' protocols do."""
    if image.shape[1:] == size:
        return image
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def _change(image: Tensor, config: ClassAugmentConfig, generator: torch.Generator) -> Tensor:
    """Mirror and recolor a crop; returns a contiguous tensor that owns its memory."""
    if float(torch.rand(1, generator=generator)) < config.flip:
        image = image.flip(2)
    if config.color_jitter > 0:
        spread = torch.rand(3, generator=generator).mul_(2).sub_(1).mul_(config.color_jitter).tolist()
        image = scale_color(image, *(1 + value for value in spread))
    if config.auto_augment:
        image = auto_augment(image, generator)
    return image.clone(memory_format=torch.contiguous_format)
