"""Read label images: one integer a pixel, or one color a pixel."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from axial_deeplab.data.image_folder import SUFFIXES
from axial_deeplab.errors import InputError

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
_FORMATS = ("PNG", "TIFF", "BMP")


def read_label_image(source: Path | bytes, where: str) -> NDArray[np.int64]:
    """Read integers, int64 [height, width], from a gray or palette image of 1, 8, 16 or 32 bits.

    A palette counts by its indices. Floats count if they are whole.

    Raises:
        InputError: The file is absent, damaged, of several frames, in color, or holds negative or broken numbers.
    """
    values = _read(source, where, None)
    if values.ndim != 2:
        raise InputError(f"{where} is a color picture: labels are one integer a pixel, in gray or with a palette")
    if values.dtype == np.int32:
        values = values.view(np.uint32)  # Pillow opens 32 bits without a sign as 32 bits with one
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        raise InputError(f"{where} holds fractions: labels are whole numbers")
    labels = values.astype(np.int64)
    if (labels.size and labels.min() < 0) or labels.max(initial=0) >= 2**32 - 2**16:
        raise InputError(f"{where} holds negative numbers: labels count from 0")
    return labels


def read_color_labels(source: Path, where: str) -> NDArray[np.int64]:
    """Read colors as numbers, `65536 R + 256 G + B`, int64 [height, width].

    Raises:
        InputError: The file is absent or damaged.
    """
    channels = _read(source, where, "RGB").astype(np.int64)
    return channels[..., 0] * 65536 + channels[..., 1] * 256 + channels[..., 2]


def list_label_images(folder: Path) -> dict[str, Path]:
    """Return the label images below a folder by their relative path without suffix, with `/`, sorted.

    Raises:
        InputError: Two differ in their suffixes only.
    """
    return _list(folder, LABEL_SUFFIXES)


def list_pictures(folder: Path) -> dict[str, Path]:
    """Return the images below a folder in the same way."""
    return _list(folder, SUFFIXES)


def _list(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file():
            key = path.relative_to(folder).with_suffix("").as_posix()
            if key in found:
                raise InputError(f"{path} and {found[key].name} have the same name: keep or rename one of them")
            found[key] = path
    return found


def _read(source: Path | bytes, where: str, mode: str | None) -> NDArray[Any]:
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise InputError(f"{where} has several frames: save each as a file of its own")
            return np.array(image.convert(mode) if mode else image)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{where} does not exist: check the path") from None
    except UnidentifiedImageError:
        raise InputError(f"{where} cannot be read as {', '.join(_FORMATS)}: save it as PNG") from None
    # Pillow's decoders answer damaged files with errors of many kinds, struct.error and SyntaxError among them.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{where} cannot be read ({reason}): write it again") from error
