"""Turn polygons and circles into masks.

Pixel convention: pixel (row, column) is the square from (x, y) = (column, row) to (column + 1, row + 1). It belongs to a
shape if its center lies inside, by the even-odd rule, left and upper edges included. Neighbors with a common edge
thus share no pixel and leave no gap, and a shape that holds no center has no pixel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.data.convert.record import Patch, Size


def fill_polygon(points: NDArray[np.float64], size: Size) -> Patch:
    """Fill one polygon.

    Args:
        points: [corner, 2], (x, y) in pixels; closed by itself, may leave the image.
        size: Height and width of the image.
    """
    left, top = (int(v) for v in np.clip(np.floor(points.min(0)), 0, (size[1], size[0])))
    right, bottom = (int(v) for v in np.clip(np.ceil(points.max(0)), 0, (size[1], size[0])))
    height, width = max(0, bottom - top), max(0, right - left)
    start, end = points, np.roll(points, -1, axis=0)
    upper, lower = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first = np.clip(np.ceil(upper - 0.5), top, bottom).astype(np.int64)  # rows whose center lies in [upper, lower)
    count = np.clip(np.ceil(lower - 0.5), top, bottom).astype(np.int64) - first
    edge = np.repeat(np.arange(len(points)), count)
    row = np.arange(edge.size) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    slope = (end - start)[edge]
    crossing = start[edge, 0] + (row + 0.5 - start[edge, 1]) * slope[:, 0] / slope[:, 1]
    column = np.clip(np.ceil(crossing - 0.5), left, left + width).astype(np.int64)
    toggles = np.zeros((height, width + 1), np.int64)
    np.add.at(toggles, (row - top, column - left), 1)
    return Patch(top, left, np.cumsum(toggles, axis=1)[:, :width] % 2 == 1)


def fill_circle(center: Sequence[float], radius: float, size: Size) -> Patch:
    """Fill a circle with its center at (x, y), in pixels."""
    (x, y), (height, width) = center, size
    left, right = (int(np.clip(v, 0, width)) for v in (np.floor(x - radius), np.ceil(x + radius)))
    top, bottom = (int(np.clip(v, 0, height)) for v in (np.floor(y - radius), np.ceil(y + radius)))
    rows, columns = np.arange(top, bottom)[:, None] + 0.5, np.arange(left, right) + 0.5
    return Patch(top, left, (rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def place_mask(mask: NDArray[Any], top: int, left: int, size: Size) -> Patch:
    """Place a mask in an image, cut at its borders."""
    mask = mask[max(0, -top) : max(0, size[0] - top), max(0, -left) : max(0, size[1] - left)]
    return Patch(min(max(0, top), size[0]), min(max(0, left), size[1]), mask)
