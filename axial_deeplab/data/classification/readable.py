"""Go on where an image of a training set is damaged: the next readable one takes its place, and its name is passed on."""

from collections.abc import Callable

from axial_deeplab.data.classification.records import ClassifiedImage, ClassifiedImages, EncodedImage
from axial_deeplab.errors import InputError

MOST_IN_A_ROW = 20
"""int: So many damaged images one after the other are no accident."""


def take_readable(
    images: ClassifiedImages, index: int, decode: Callable[[EncodedImage], ClassifiedImage]
) -> ClassifiedImage:
    """Return an image, or if it cannot be read the next one that can; `damaged` then names those passed over.

    Args:
        images: Where it comes from.
        index: The image that is wanted.
        decode: What turns its file into what is wanted; raises `InputError` if it cannot.

    Raises:
        InputError: `MOST_IN_A_ROW` images in a row cannot be read.
    """
    damaged: list[str] = []
    for number in range(index, index + MOST_IN_A_ROW):
        try:
            return decode(images.read(number % len(images)))._replace(damaged=tuple(damaged))
        except InputError as error:
            damaged.append(str(error))
    raise InputError(f"{MOST_IN_A_ROW} images in a row cannot be read, the first: {damaged[0]}")
