"""Turn masks into polygons, as tools for annotation edit them; `convert.rasterize` turns them back.

The outline of a mask runs through the middles of the edges between its pixels and the others, so that it holds the centers of
exactly these pixels; after that it is simplified. Pixels that touch at a corner belong together.

Source: D. Douglas and T. Peucker, "Algorithms for the reduction of the number of points required to represent a digitized line
or its caricature" (Cartographica 1973), for the simplification.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.data.convert.rasterize import fill_polygon

Ring = NDArray[np.float64]
"""Corners of a closed outline, [corner, 2], (x, y) in pixels; pixel (row, column) has its center at (column + ½, row + ½)."""

TOLERANCES = (0.5, 0.25, 0.0)
"""tuple: Pixels that a simplified outline may lie off the exact one; the first that keeps `MIN_IOU` is taken."""

MIN_IOU = 0.95
"""float: Intersection over union of a mask and what its polygons hold."""

NEGLIGIBLE = 0.02
"""float: Share of its pixels that a mask may lose in small parts, and gain in small holes."""


def find_polygons(mask: NDArray[np.bool_]) -> list[Ring]:
    """Return one ring for each part of a mask, the largest first; a hole is joined to its part by a cut without width.

    The smallest parts are left out, and the smallest holes filled, as long as that is no more than `NEGLIGIBLE` of the mask.
    What the rings hold agrees with the mask to `MIN_IOU` or better.

    Args:
        mask: [height, width], not empty.
    """
    rings = trace_rings(mask)
    areas = np.array([measure_area(ring) for ring in rings])
    spare = NEGLIGIBLE * mask.sum()
    outer = [rings[i] for i in _keep_largest(np.maximum(areas, 0), spare)]
    holes: list[list[Ring]] = [[] for _ in outer]
    for i in _keep_largest(np.maximum(-areas, 0), spare):
        if (owner := _find_owner(rings[i], outer)) is not None:
            holes[owner].append(rings[i])
    for tolerance in TOLERANCES:
        polygons = [
            _join(simplify(ring, tolerance), [simplify(hole, tolerance) for hole in inner])
            for ring, inner in zip(outer, holes, strict=True)
        ]
        if _measure_iou(mask, polygons) >= MIN_IOU:
            break
    return polygons


def _measure_iou(mask: NDArray[np.bool_], polygons: Sequence[Ring]) -> float:
    held = np.zeros_like(mask)
    for ring in polygons:
        top, left, part = fill_polygon(ring, (mask.shape[0], mask.shape[1]))
        held[top : top + part.shape[0], left : left + part.shape[1]] |= part
    return float((held & mask).sum() / (held | mask).sum())


def trace_rings(mask: NDArray[np.bool_]) -> list[Ring]:
    """Return the exact outlines of a mask: areas of parts are positive, of holes negative."""
    padded = np.pad(mask, 1)
    starts, ends = [], []  # corners of pixels, as flat indices of a grid one wider; the mask lies to the right
    stride = padded.shape[1]
    for rows, columns in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        there = np.roll(padded, (-rows, -columns), (0, 1))
        row, column = np.nonzero(padded & ~there)  # neighbors at (+rows, +columns) are outside
        first = {(0, 1): (0, 1), (1, 0): (1, 1), (0, -1): (1, 0), (-1, 0): (0, 0)}[rows, columns]
        start = (row + first[0]) * stride + column + first[1]
        starts.append(start)
        ends.append(start + {(0, 1): stride, (1, 0): -1, (0, -1): -stride, (-1, 0): 1}[rows, columns])
    start, end = np.concatenate(starts), np.concatenate(ends)
    following = _link(start, end)
    middles = np.stack([(start % stride + end % stride) / 2 - 1, (start // stride + end // stride) / 2 - 1], 1)
    rings, seen = [], bytearray(len(start))
    for edge in range(len(start)):
        ring = []
        while not seen[edge]:
            seen[edge] = 1
            ring.append(edge)
            edge = following[edge]
        if ring:
            rings.append(middles[ring])
    return rings


def _link(start: NDArray[np.integer], end: NDArray[np.integer]) -> list[int]:
    """Return for each edge of an outline the one that follows.

    Where two pixels touch at a corner, two edges leave it: the outline turns to the left, across to the other pixel.
    """
    order = np.argsort(start, kind="stable")
    first = np.searchsorted(start[order], end)
    last = np.minimum(first + 1, len(order) - 1)
    one, other = order[first], order[last]
    direction = end - start
    # At such a corner the edges that leave go to opposite sides; that to the left of east, going down the rows, is north.
    stride = np.abs(direction).max(initial=1)
    left = np.where(np.abs(direction) == 1, -direction * stride, direction // stride)
    both = (start[other] == end) & (one != other)
    return np.where(both & (direction[other] == left), other, one).tolist()


def measure_area(ring: Ring) -> float:
    """Return the area of a ring, positive if it runs clockwise as seen on the picture."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def simplify(ring: Ring, tolerance: float) -> Ring:
    """Return the corners of a ring that matter: the others lie within `tolerance` of the lines between these."""
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    closed = np.concatenate([ring, ring[:1]])
    kept = np.zeros(len(closed), dtype=bool)
    kept[[0, far, -1]] = True
    open_spans = [(0, far), (far, len(ring))]
    while open_spans:
        first, last = open_spans.pop()
        if last - first < 2:
            continue
        distance = _measure_distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = first + 1 + worst
            kept[middle] = True
            open_spans += [(first, middle), (middle, last)]
    corners = closed[:-1][kept[:-1]]
    return corners if len(corners) > 2 else ring


def _measure_distances(points: Ring, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far points lie from the line between two others."""
    along = end - start
    length = float(along @ along)
    share = ((points - start) @ along / length).clip(0, 1) if length else np.zeros(len(points))
    return np.hypot(*(points - start - share[:, None] * along).T)


def _keep_largest(areas: NDArray[np.float64], spare: float) -> list[int]:
    """Return the positions of the positive areas, the largest first, without the smallest that add up to `spare` at most."""
    order = [int(i) for i in np.argsort(-areas, kind="stable") if areas[i] > 0]
    rest = np.cumsum(areas[order][::-1])[::-1]
    return [position for rank, position in enumerate(order) if rest[rank] > spare]


def _find_owner(hole: Ring, outer: Sequence[Ring]) -> int | None:
    """Return which ring is the smallest around a hole, None if its part was left out."""
    for position in reversed(range(len(outer))):  # the smallest first
        if _holds(outer[position], hole[0]):
            return position
    return None


def _holds(ring: Ring, point: NDArray[np.float64]) -> bool:
    """Return whether a point lies inside a ring."""
    start, end = ring, np.roll(ring, -1, axis=0)
    crossed = (start[:, 1] > point[1]) != (end[:, 1] > point[1])
    start, end = start[crossed], end[crossed]
    x = start[:, 0] + (point[1] - start[:, 1]) * (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
    return bool((x > point[0]).sum() % 2)


def _join(ring: Ring, holes: Sequence[Ring]) -> Ring:
    """Return one ring that runs into each hole and back on the same line, which encloses nothing."""
    for hole in holes:
        distance = ((ring[:, None] - hole[None]) ** 2).sum(2)
        here, there = np.unravel_index(int(distance.argmin()), distance.shape)
        around = np.concatenate([hole[there:], hole[: there + 1]])
        ring = np.concatenate([ring[: here + 1], around, ring[here:]])
    return ring
