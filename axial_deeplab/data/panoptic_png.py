"""Segment ids as the colors of a PNG, `id = R + 256 G + 65536 B`, and the runs of equal ids in such maps."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from axial_deeplab.errors import InputError
from axial_deeplab.records import VOID_ID, Segment

MAX_ID = 2**24 - 1
"""int: Largest segment id that three bytes hold."""


def encode_ids(ids: np.ndarray) -> np.ndarray:
    """Turn segment ids, integer [height, width], 0 .. MAX_ID, into colors, uint8 [height, width, 3].

    Raises:
        InputError: An id does not fit into three bytes.
    """
    if ids.size and not 0 <= ids.min() <= ids.max() <= MAX_ID:
        raise InputError(f"segment ids reach from {ids.min()} to {ids.max()}: a PNG holds 0 .. {MAX_ID}")
    little_endian = np.ascontiguousarray(ids, dtype="<u4")
    return np.ascontiguousarray(little_endian.view(np.uint8).reshape(*ids.shape, 4)[..., :3])


def decode_ids(image: Image.Image) -> np.ndarray:
    """Turn the colors of an RGB image into segment ids, int32 [height, width]; alpha counts for nothing.

    Raises:
        InputError: The image has no red, green and blue (it is gray, or has a palette).
    """
    return _view_pixels(image) & MAX_ID


def read_ids(path: Path) -> np.ndarray:
    """Read a panoptic PNG as segment ids, int32 [height, width].

    Raises:
        InputError: The file is absent, no PNG, damaged, or not RGB; names it.
    """
    return read_pixels(path) & MAX_ID


def read_pixels(path: Path) -> np.ndarray:
    """Read a panoptic PNG as int32 [height, width] whose low three bytes are the id; the fourth may be anything.

    For those who look at few pixels and can mask these: `read_ids` costs a pass over the map more.

    Raises:
        InputError: The file is absent, no PNG, damaged, or not RGB; names it.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return _view_pixels(image)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: the JSON names it, so restore it or correct 'file_name'") from None
    except InputError as error:
        raise InputError(f"{path} is no panoptic PNG: {error}") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} cannot be read as a PNG (another format, or empty): write it again") from None
    # Pillow answers damaged files with errors of many kinds, struct.error and SyntaxError among them.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as a PNG ({reason}): write it again") from error


def find_runs(first: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut flat maps of the same length into the runs in which none of them changes.

    Returns:
        The position of the last pixel of each run, and its length in pixels.
    """
    change = first[1:] != first[:-1]
    for other in others:
        change |= other[1:] != other[:-1]
    last = np.concatenate(([-1], np.flatnonzero(change), [first.size - 1]))
    return last[1:], last[1:] - last[:-1]


def count_pixels(ids: np.ndarray) -> dict[int, int]:
    """Return the number of pixels of every id in a map, ids ascending."""
    last, length = find_runs(ids.reshape(-1))
    found, slot = np.unique(ids.take(last), return_inverse=True)
    pixels = np.bincount(slot, weights=length).astype(np.int64)
    return dict(zip(found.tolist(), pixels.tolist(), strict=True))


def check_segments(present: Collection[int], segments: Sequence[Segment], source: str) -> None:
    """Compare the ids of a map with the segments that are said to be in it.

    Args:
        present: The ids in the map; `VOID_ID` among them or not.
        segments: What the list describes.
        source: Where the map and the list come from, for the message.

    Raises:
        InputError: An id is not listed, a listed segment has no pixel, an id repeats or is that of void.
    """
    listed = {segment.id for segment in segments}
    if len(listed) < len(segments) or VOID_ID in listed:
        raise InputError(f"{source}: segment ids repeat or equal {VOID_ID}: give each segment its own id from 1")
    found = set(present) - {VOID_ID}
    if found == listed:
        return
    if unlisted := sorted(found - listed)[:5]:
        raise InputError(f"{source}: ids {unlisted} are in the map but not in the list: list them or set them to 0")
    missing = sorted(listed - found)[:5]
    raise InputError(f"{source}: segments {missing} are in the list but have no pixel in the map: drop them")


def _view_pixels(image: Image.Image) -> np.ndarray:
    """Return the four bytes that Pillow keeps of each pixel as one int32 [height, width], red lowest."""
    if image.mode not in ("RGB", "RGBA"):
        raise InputError(f"its colors are of mode {image.mode}: save ids as RGB, id = R + 256 G + 65536 B")
    pixels = image.tobytes("raw", "RGBX" if image.mode == "RGB" else "RGBA")
    return np.frombuffer(pixels, dtype="<i4").reshape(image.height, image.width)
