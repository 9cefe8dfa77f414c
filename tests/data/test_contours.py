"""Masks become polygons, and polygons the same masks."""

import numpy as np
import pytest

from axial_deeplab.data.contours import MIN_IOU, find_polygons, measure_area, simplify, trace_rings
from axial_deeplab.data.convert.rasterize import fill_polygon


def fill(rings: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Fill each ring; a pixel counts if an odd number of them holds it."""
    mask = np.zeros(size, bool)
    for ring in rings:
        top, left, part = fill_polygon(ring, size)
        mask[top : top + part.shape[0], left : left + part.shape[1]] ^= part
    return mask


def measure_iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def draw_disk(size: int, center: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2


def test_traced_rings_hold_exactly_the_mask() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        mask = random.random(tuple(random.integers(1, 12, 2))) < random.random()
        np.testing.assert_array_equal(fill(trace_rings(mask), mask.shape), mask)
        areas = [measure_area(ring) for ring in trace_rings(mask)]
        assert all(area != 0 for area in areas)
        assert any(area > 0 for area in areas) == mask.any()


def test_corners_join_pixels_and_do_not_close_holes() -> None:
    assert len(trace_rings(np.eye(3, dtype=bool))) == 1
    diamond = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    assert sorted(np.sign([measure_area(ring) for ring in trace_rings(diamond)])) == [-1, 1]


def test_holes_are_joined_to_their_own_part() -> None:
    mask = draw_disk(100, (30, 30), 25) & ~draw_disk(100, (25, 25), 8) & ~draw_disk(100, (40, 38), 6)
    mask |= draw_disk(100, (75, 75), 20) & ~draw_disk(100, (75, 75), 10)
    polygons = find_polygons(mask)
    assert len(polygons) == 2
    assert len(polygons[0]) < 90
    assert measure_iou(fill(polygons, mask.shape), mask) > 0.98
    assert not fill(polygons, mask.shape)[[25, 40, 75], [25, 38, 75]].any()


def test_specks_and_pinholes_are_left_out() -> None:
    mask = draw_disk(60, (30, 30), 20)
    clean = len(find_polygons(mask)[0])
    mask[30, 30], mask[2, 2], mask[57, 5] = False, True, True
    (polygon,) = find_polygons(mask)
    assert len(polygon) == clean
    mask[:6, :6] = True
    assert len(find_polygons(mask)) == 2


@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_thin_masks_stay_themselves(thickness: int) -> None:
    mask = np.zeros((80, 80), bool)
    for step in range(70):
        mask[step : step + thickness, step // 2 : step // 2 + thickness] = True
    assert measure_iou(fill(find_polygons(mask), mask.shape), mask) >= MIN_IOU


def test_smallest_masks() -> None:
    for size in ((1, 1), (1, 7), (2, 1), (3, 3)):
        mask = np.ones(size, bool)
        np.testing.assert_array_equal(fill(find_polygons(mask), size), mask)


def test_simplified_ring_keeps_what_lies_off() -> None:
    ring = np.array([(0, 0), (5, 0.3), (10, 0), (10, 5), (10.2, 7), (10, 10), (0, 10)], float)
    assert simplify(ring, 0.25).tolist() == [[0, 0], [5, 0.3], [10, 0], [10, 10], [0, 10]]
    assert simplify(ring, 0.5).tolist() == [[0, 0], [10, 0], [10, 10], [0, 10]]
