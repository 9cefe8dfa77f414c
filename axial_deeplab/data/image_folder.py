"""Find images, and read any of them as 8-bit RGB the way a viewer shows it."""

import glob
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from axial_deeplab.errors import InputError

# Named one by one: Pillow would also run PostScript and try formats that no camera or annotator writes.
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """List the images that files, folders and patterns name, each once, in the order of the inputs.

    A file counts whatever its suffix; a folder gives the images directly in it, sorted by name, or if there is none those in
    its subfolders, sorted by path; a pattern such as `"photos/**/*.jpg"` gives its images, sorted. Hidden files in folders
    are passed over.

    Raises:
        InputError: An input names no image.
    """
    found: dict[Path, None] = {}
    for text in inputs:
        path = Path(text)
        if path.is_file():
            hits = [path]
        elif path.is_dir():
            hits = sorted(filter(_looks_like_image, path.iterdir())) or sorted(
                filter(_looks_like_image, path.rglob("*"))
            )
        else:
            hits = sorted(filter(_looks_like_image, map(Path, glob.glob(str(text), recursive=True))))
        if not hits:
            raise InputError(f"{text} names no image: give files, folders or patterns with {' '.join(SUFFIXES)}")
        found.update(dict.fromkeys(hits))
    return list(found)


def read_image(source: str | Path | bytes) -> Image.Image:
    """Read an image file, or the bytes of one, as `to_rgb` describes. Of several frames, the first one counts.

    Raises:
        InputError: The file is absent, is no image, is damaged or cut short, or has more than twice
            `PIL.Image.MAX_IMAGE_PIXELS` pixels.
    """
    name = f"the image of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            image.load()
            return to_rgb(image)
    except FileNotFoundError:
        raise InputError(f"{name} does not exist: check the path") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{name} is too large ({error}): cut it into tiles") from error
    except UnidentifiedImageError:
        raise InputError(f"{name} cannot be read as an image (of {', '.join(FORMATS)}): convert it to PNG") from None
    # Pillow's decoders answer damaged files with errors of many kinds, struct.error and SyntaxError among them.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name} cannot be read as an image ({reason}): replace it by a sound PNG or JPEG") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn any Pillow image into 8-bit RGB.

    The orientation of the EXIF data is applied. Gray, palette, bilevel and CMYK images are converted; alpha is dropped,
    not blended. 16-bit gray is divided by 257 and rounded, so that 65535 becomes 255. Other integers and floats have no
    agreed range: they are stretched from their own finite minimum and maximum to 0..255.
    """
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_scale_to_8_bits(np.asarray(image)))
    elif image.mode in ("P", "PA", "La", "RGBa"):
        image = image.convert("RGBA")  # a palette's transparency and premultiplied alpha need this step on the way
    return image if image.mode == "RGB" else image.convert("RGB")


def to_rgb_array(image: Image.Image) -> np.ndarray:
    """Return `to_rgb(image)` as a fresh uint8 array [height, width, 3]."""
    return np.array(to_rgb(image))


def _looks_like_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _scale_to_8_bits(values: np.ndarray) -> np.ndarray:
    """Bring one channel of integers beyond 8 bits, or of floats, to uint8."""
    # Pillow opens 16-bit gray as uint16 or, older versions and some formats, as int32 in the same range.
    if values.dtype.kind in "ui" and values.min() >= 0 and values.max() <= 65535:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    finite = np.isfinite(values)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = float(values[finite].min()), float(values[finite].max())
    offset = np.where(finite, values, low).astype(np.float64) - low
    return np.rint(offset * (255 / (high - low) if high > low else 0)).astype(np.uint8)
