"""AutoAugment for ImageNet: one of 25 sub-policies of two operations, each with its probability and level.

Source: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", for the method, and the ranges of rotation,
shear and translation; the policy is "v0" of TensorFlow's Model Garden, and so are the ranges of the other operations (which
policy the checkpoints of deeplab2 saw is not published). Two of its levels would leave nothing of an image of 224 pixels:
there, translation is the paper's share of the side and not a number of pixels, and posterizing keeps a bit at least.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

MAX_LEVEL = 10
FILL = (128, 128, 128)
"""tuple: RGB where a moved image leaves a place empty."""


class Step(NamedTuple):
    """One operation of a sub-policy."""

    operation: str
    probability: float
    level: int  # 0 .. MAX_LEVEL; what it means is the operation's own


POLICY = (
    (Step("equalize", 0.8, 1), Step("shear_y", 0.8, 4)),
    (Step("color", 0.4, 9), Step("equalize", 0.6, 3)),
    (Step("color", 0.4, 1), Step("rotate", 0.6, 8)),
    (Step("solarize", 0.8, 3), Step("equalize", 0.4, 7)),
    (Step("solarize", 0.4, 2), Step("solarize", 0.6, 2)),
    (Step("color", 0.2, 0), Step("equalize", 0.8, 8)),
    (Step("equalize", 0.4, 8), Step("solarize_add", 0.8, 3)),
    (Step("shear_x", 0.2, 9), Step("rotate", 0.6, 8)),
    (Step("color", 0.6, 1), Step("equalize", 1.0, 2)),
    (Step("invert", 0.4, 9), Step("rotate", 0.6, 0)),
    (Step("equalize", 1.0, 9), Step("shear_y", 0.6, 3)),
    (Step("color", 0.4, 7), Step("equalize", 0.6, 0)),
    (Step("posterize", 0.4, 6), Step("auto_contrast", 0.4, 7)),
    (Step("solarize", 0.6, 8), Step("color", 0.6, 9)),
    (Step("solarize", 0.2, 4), Step("rotate", 0.8, 9)),
    (Step("rotate", 1.0, 7), Step("translate_y", 0.8, 9)),
    (Step("shear_x", 0.0, 0), Step("solarize", 0.8, 4)),
    (Step("shear_y", 0.8, 0), Step("color", 0.6, 4)),
    (Step("color", 1.0, 0), Step("rotate", 0.6, 2)),
    (Step("equalize", 0.8, 4), Step("equalize", 0.0, 8)),
    (Step("equalize", 1.0, 4), Step("auto_contrast", 0.6, 2)),
    (Step("shear_y", 0.4, 7), Step("solarize_add", 0.6, 7)),
    (Step("posterize", 0.8, 2), Step("solarize", 0.6, 10)),
    (Step("solarize", 0.6, 8), Step("equalize", 0.6, 1)),
    (Step("color", 0.8, 6), Step("rotate", 0.4, 5)),
)


def auto_augment(image: Tensor, generator: torch.Generator) -> Tensor:
    """Apply a sub-policy, drawn with equal chances, to an image.

    Args:
        image: uint8 [3, height, width], RGB.
        generator: Source of all choices; it advances by as many numbers whatever is chosen.

    Returns:
        uint8 [3, height, width].
    """
    choice, *draws = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    for step, chance, side in zip(POLICY[int(choice * len(POLICY))], draws[:2], draws[2:], strict=True):
        if chance < step.probability:
            picture = OPERATIONS[step.operation](picture, step.level / MAX_LEVEL, 1 if side < 0.5 else -1)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def rotate(picture: Image.Image, level: float, sign: int) -> Image.Image:
    """Turn by up to 30 degrees around the center."""
    return picture.rotate(sign * 30 * level, fillcolor=FILL)


def shear_x(picture: Image.Image, level: float, sign: int) -> Image.Image:
    """Move each row sideways by up to 0.3 of its distance from the top."""
    return _move(picture, (1, sign * 0.3 * level, 0, 0, 1, 0))


def shear_y(picture: Image.Image, level: float, sign: int) -> Image.Image:
    """Move each column up or down by up to 0.3 of its distance from the left."""
    return _move(picture, (1, 0, 0, sign * 0.3 * level, 1, 0))


def translate_y(picture: Image.Image, level: float, sign: int) -> Image.Image:
    """Move up or down by as much as 150 of 331 rows."""
    return _move(picture, (1, 0, 0, 0, 1, sign * level * 150 / 331 * picture.height))


def color(picture: Image.Image, level: float, sign: int) -> Image.Image:
    """Scale the distance of pixels from their gray by 0.1 .. 1.9."""
    return ImageEnhance.Color(picture).enhance(1.8 * level + 0.1)


def solarize(picture: Image.Image, level: float, sign: int) -> Image.Image:
    """Invert values from a threshold on, 0 .. 256."""
    return ImageOps.solarize(picture, int(256 * level))


def solarize_add(picture: Image.Image, level: float, sign: int) -> Image.Image:
    """Add up to 110 to values below 128."""
    return picture.point([value + (int(110 * level) if value < 128 else 0) for value in range(256)] * 3)


def posterize(picture: Image.Image, level: float, sign: int) -> Image.Image:
    """Keep the 1 .. 4 highest bits of values."""
    return ImageOps.posterize(picture, max(1, int(4 * level)))


def _move(picture: Image.Image, coefficients: tuple[float, ...]) -> Image.Image:
    """Take each pixel (x, y) from (ax + by + c, dx + ey + f), the nearest."""
    return picture.transform(picture.size, Image.Transform.AFFINE, coefficients, fillcolor=FILL)


OPERATIONS: dict[str, Callable[[Image.Image, float, int], Image.Image]] = {
    "auto_contrast": lambda picture, level, sign: ImageOps.autocontrast(picture),
    "color": color,
    "equalize": lambda picture, level, sign: ImageOps.equalize(picture),
    "invert": lambda picture, level, sign: ImageOps.invert(picture),
    "posterize": posterize,
    "rotate": rotate,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "solarize": solarize,
    "solarize_add": solarize_add,
    "translate_y": translate_y,
}
"""dict: Operations by name. Each gets a picture, a level in 0..1, and 1 or -1, where an operation has two directions."""
