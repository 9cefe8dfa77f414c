"""Count the pixels that the segments of two maps share.

The maps are cut into runs of equal pixels first and everything after that is done on runs, of which there are about fifty
times fewer than pixels.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from axial_deeplab.data.panoptic_png import MAX_ID, find_runs, read_pixels
from axial_deeplab.errors import InputError
from axial_deeplab.records import VOID_ID

Overlaps = dict[tuple[int, int], int]
"""Number of pixels by (id in the first map, id in the second), ordered by that pair."""


def measure_overlaps(first: np.ndarray, second: np.ndarray) -> Overlaps:
    """Count the pixels of every pair of ids in two maps, integer [height, width], ids 0 .. 2^24 - 1.

    Raises:
        InputError: The sizes differ, or an id is out of range.
    """
    if first.shape != second.shape:
        raise InputError(f"the maps differ in size, {first.shape} and {second.shape}: compare maps of one image")
    last, length = find_runs(first.reshape(-1), second.reshape(-1))
    ids = first.take(last), second.take(last)  # `take` is three times as fast as an index in brackets
    if min(map(np.min, ids)) < 0 or max(map(np.max, ids)) > MAX_ID:
        raise InputError(f"a map holds ids outside of 0 .. {MAX_ID}: renumber its segments")
    return _add_up(*ids, length)


def read_overlaps(first: Path, second: Path) -> Overlaps:
    """Count the pixels of every pair of ids in two panoptic PNGs.

    Raises:
        InputError: A file cannot be used, or the sizes differ; names it.
    """
    pixels = read_pair(first, second)
    last, length = find_runs(*(side.reshape(-1) for side in pixels))
    return _add_up(pixels[0].take(last) & MAX_ID, pixels[1].take(last) & MAX_ID, length)


def read_pair(first: Path, second: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read two panoptic PNGs of one size as `read_pixels` does: only the low three bytes are the id.

    Raises:
        InputError: A file cannot be used, or the sizes differ; names it.
    """
    pixels = read_pixels(first), read_pixels(second)
    check_sizes(pixels, (first, second))
    return pixels


def check_sizes(maps: tuple[np.ndarray, np.ndarray], paths: tuple[Path, Path]) -> None:
    """Raise InputError unless a prediction, the second, has the size of the truth."""
    if maps[0].shape != maps[1].shape:
        (height, width), (other_height, other_width) = maps[0].shape, maps[1].shape
        raise InputError(
            f"{paths[1]} has {other_height}×{other_width} pixels but {paths[0]} has {height}×{width}: "
            "write the prediction at the size of the image"
        )


def sum_pixels(overlaps: Overlaps, side: int) -> dict[int, int]:
    """Count the pixels of every id of the first map (side 0) or of the second (side 1)."""
    pixels: dict[int, int] = {}
    for pair, count in overlaps.items():
        pixels[pair[side]] = pixels.get(pair[side], 0) + count
    return pixels


def map_ids(overlaps: Overlaps, first: Mapping[int, int], second: Mapping[int, int]) -> Overlaps:
    """Replace the ids of both maps, by their classes for example, and add up the pixels of equal pairs.

    Raises:
        KeyError: An id is not in its table.
    """
    mapped: Overlaps = {}
    for (one, other), count in overlaps.items():
        pair = first[one], second[other]
        mapped[pair] = mapped.get(pair, 0) + count
    return mapped


def clear_ids(overlaps: Overlaps, void: Collection[int]) -> Overlaps:
    """Return the same with `VOID_ID` for the ids of the first map that are in `void`."""
    if not void:
        return overlaps
    first = {one: VOID_ID if one in void else one for one, _ in overlaps}
    return map_ids(overlaps, first, {other: other for _, other in overlaps})


def to_array(values: Tensor | np.ndarray) -> np.ndarray:
    """Return a map or mask as an array, from whatever device."""
    return values.cpu().numpy() if isinstance(values, Tensor) else values


def _add_up(first: np.ndarray, second: np.ndarray, length: np.ndarray) -> Overlaps:
    """Add up the lengths of the runs with the same pair of ids."""
    pair = (first.astype(np.int64) << 24) | second
    distinct = np.sort(pair)
    distinct = distinct[np.append(True, distinct[1:] != distinct[:-1])]
    pixels = np.bincount(np.searchsorted(distinct, pair), weights=length).astype(np.int64)
    return {(key >> 24, key & MAX_ID): count for key, count in zip(distinct.tolist(), pixels.tolist(), strict=True)}
