"""Prepare images for scoring: the short side resized, the center cut out."""

from dataclasses import dataclass

from torch import Tensor

from axial_deeplab.data.classification.augment import resize_antialiased
from axial_deeplab.errors import InputError


@dataclass(frozen=True)
class ScoringConfig:
    """What is scored of an image.

    Attributes:
        resize: The short side becomes this many pixels, the longer one in proportion.
        crop: Height and width of the square that is cut from the center; 0 keeps the whole image at its own size.
    """

    resize: int = 256
    crop: int = 224

    def __post_init__(self) -> None:
        """Check the numbers, so that a bad recipe fails before the first image."""
        if self.crop < 0 or self.resize < max(1, self.crop):
            raise InputError(f"need 0 <= crop <= resize and resize > 0, not {self.crop} and {self.resize}")


def prepare_class(image: Tensor, config: ScoringConfig) -> Tensor:
    """Resize and cut an image for scoring, bilinear and antialiased.

    Args:
        image: uint8 [3, height, width], RGB.
        config: What is scored.

    Returns:
        uint8 [3, crop, crop], or the image as it is if `crop` is 0.
    """
    if config.crop == 0:
        return image
    height, width = (max(config.crop, side * config.resize // min(image.shape[1:])) for side in image.shape[1:])
    top, left = round((height - config.crop) / 2), round((width - config.crop) / 2)
    resized = resize_antialiased(image, (height, width))
    return resized[:, top : top + config.crop, left : left + config.crop].contiguous()
