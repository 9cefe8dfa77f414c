"""Decode image files fast: JPEG by simplejpeg where it is installed, everything else as `image_folder.read_image` does.

A JPEG can be decoded to a half, a quarter or an eighth of its size, from fewer coefficients of each block; that costs less
than decoding all of it and is as good where the result is made smaller anyway.
"""

import io
from functools import lru_cache
from types import ModuleType

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from axial_deeplab.data.image_folder import read_image, to_rgb
from axial_deeplab.errors import InputError

REDUCTIONS = (8, 4, 2)


@lru_cache(maxsize=1)
def find_simplejpeg() -> ModuleType | None:
    """Return the module of the extra 'fast', or None if it is not installed."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def choose_reduction(crop: tuple[int, int], target: tuple[int, int]) -> int:
    """Return the largest of 8, 4, 2, 1 by which a crop can be divided and still be no smaller than the target."""
    return next((r for r in REDUCTIONS if crop[0] >= r * target[0] and crop[1] >= r * target[1]), 1)


def measure_image(data: bytes, name: str) -> tuple[int, int]:
    """Return height and width of an image as `decode_image` gives it, from the header where that says it.

    Raises:
        InputError: The image cannot be read.
    """
    if not _is_plain_jpeg(data):
        image = read_encoded(data, name)
        return image.height, image.width
    library = find_simplejpeg()
    try:
        if library is not None:
            height, width, *_ = library.decode_jpeg_header(data)
            return height, width
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return image.height, image.width
    except Exception:  # both libraries answer a damaged header with errors of many kinds
        image = read_encoded(data, name)
        return image.height, image.width


def decode_image(data: bytes, name: str, *, reduction: int = 1) -> Tensor:
    """Decode the bytes of an image file.

    Args:
        data: The file.
        name: What errors call it.
        reduction: 1, 2, 4 or 8: the result has ceil(height / reduction) rows and columns alike.

    Returns:
        uint8 [3, height, width], RGB, upright. In memory the channels of a pixel lie together, as resizing wants them.

    Raises:
        InputError: The image cannot be read, or not to its end.
    """
    pixels = decode_jpeg(data, reduction=reduction) if _is_plain_jpeg(data) else None
    if pixels is None:
        image = read_encoded(data, name)
        pixels = np.array(image.reduce(reduction) if reduction > 1 else image)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def decode_jpeg(data: bytes, *, reduction: int = 1) -> np.ndarray | None:
    """Decode a JPEG to uint8 [height, width, 3], RGB; None if the library does not like it, for whatever reason."""
    library = find_simplejpeg()
    try:
        if library is None:
            return _decode_pillow(data, reduction)
        height, width, colors, _ = library.decode_jpeg_header(data)
        if colors not in ("YCbCr", "RGB", "Gray"):
            return None  # CMYK: Pillow knows Adobe's inverted form
        if reduction == 1:
            return library.decode_jpeg(data)
        sides = -(-height // reduction), -(-width // reduction)
        return library.decode_jpeg(data, min_height=sides[0], min_width=sides[1])
    except Exception:  # both libraries answer damaged files with errors of many kinds
        return None


def read_encoded(data: bytes, name: str) -> Image.Image:
    """Read an image of any format; an error names the file.

    Raises:
        InputError: The image cannot be read.
    """
    try:
        return read_image(data)
    except InputError as error:
        raise InputError(str(error).replace(f"the image of {len(data)} bytes", name)) from error


def _decode_pillow(data: bytes, reduction: int) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        if reduction > 1:
            image.draft("RGB", (image.width // reduction, image.height // reduction))
        return np.array(to_rgb(image))


def _is_plain_jpeg(data: bytes) -> bool:
    """Tell whether the bytes look like a JPEG that is stored upright."""
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    if not _has_exif(data):
        return True
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            return image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    except Exception:  # a damaged header: not plain, so that `read_image` decides and names the file
        return False


def _has_exif(data: bytes) -> bool:
    """Go from marker to marker until the scan begins: faster than a search through the first 64 KB."""
    place = 2
    while data[place : place + 1] == b"\xff" and (marker := data[place + 1 : place + 2]) not in (b"\xda", b""):
        if marker == b"\xff":  # padding
            place += 1
            continue
        if marker == b"\xe1" and data.startswith(b"Exif\0\0", place + 4):
            return True
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return False
