"""Measure the regions of an id map: area, box, center, and how far their pixels lie from it."""

from typing import NamedTuple

import numpy as np

from axial_deeplab.data.panoptic_png import find_runs


class Regions(NamedTuple):
    """The ids of a map, ascending, with their measures in pixels; each an array [region]."""

    id: np.ndarray  # int32
    area: np.ndarray  # int64
    height: np.ndarray  # int64, of the box
    width: np.ndarray  # int64, of the box
    center: np.ndarray  # int64 [region, 2], (y, x), rounded half to even, as in `encode_targets`
    distance: np.ndarray  # float64, sum over the pixels of (|y - center y| + |x - center x|) / 2


def measure_regions(ids: np.ndarray) -> Regions:
    """Measure all regions of an id map, integer [height, width], void among them, in passes over its runs."""
    height, width = ids.shape
    last, length = find_runs(ids.reshape(-1), np.repeat(np.arange(height, dtype=np.int32), width))
    found, region = np.unique(ids.take(last), return_inverse=True)
    row, right = np.divmod(last, width)
    left = right - length + 1
    area = np.bincount(region, weights=length)
    total = (np.bincount(region, weights=row * length), np.bincount(region, weights=(left + right) * length / 2))
    center = np.rint(np.stack(total, axis=1) / area[:, None]).astype(np.int64)
    center_y, center_x = center[region].T
    distance = np.abs(row - center_y) * length + _sum_to(right - center_x) - _sum_to(left - 1 - center_x)
    return Regions(
        id=found,
        area=area.astype(np.int64),
        height=_measure_extent(region, row, row, found.size),
        width=_measure_extent(region, left, right, found.size),
        center=center,
        distance=np.bincount(region, weights=distance) / 2,
    )


def find_neighbor_distances(center: np.ndarray, rows_at_once: int = 256) -> np.ndarray:
    """Return the distance of each center to its nearest neighbor, int64 [center]; empty unless there are two.

    The distance is the larger one of |dy| and |dx|: a window of side k around a center holds those up to (k - 1) / 2.

    Args:
        center: Integer [center, 2], (y, x).
        rows_at_once: Centers compared with all others at once; bounds the memory.
    """
    if len(center) < 2:
        return np.zeros(0, np.int64)
    nearest = []
    for first in range(0, len(center), rows_at_once):
        part = center[first : first + rows_at_once]
        distance = np.abs(part[:, None] - center[None]).max(axis=2)
        distance[np.arange(len(part)), np.arange(first, first + len(part))] = np.iinfo(np.int64).max
        nearest.append(distance.min(axis=1))
    return np.concatenate(nearest)


def _measure_extent(region: np.ndarray, low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    """Return how many positions each region spans from its lowest to its highest one."""
    lowest, highest = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(lowest, region, low)
    np.maximum.at(highest, region, high)
    return highest - lowest + 1


def _sum_to(end: np.ndarray) -> np.ndarray:
    """Return the sum of |k| over 0 < k <= end, for negative ends minus that over end < k <= 0."""
    return np.where(end >= 0, 1, -1) * end * (end + 1) // 2
