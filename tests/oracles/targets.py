"""Targets of one image, pixel by pixel in float64: slow, plain, for comparison only."""

import math
from typing import NamedTuple

import numpy as np

IGNORE = 255


class SlowTargets(NamedTuple):
    semantic_weight: np.ndarray  # [height, width]
    center_heatmap: np.ndarray  # [height, width]
    center_weight: np.ndarray  # [height, width]
    offset: np.ndarray  # [2, height, width]
    offset_weight: np.ndarray  # [height, width]


def list_instances(semantic: np.ndarray, instance: np.ndarray, crowd: np.ndarray) -> dict[int, list[tuple[int, int]]]:
    """Return the pixels (y, x) of each instance."""
    pixels: dict[int, list[tuple[int, int]]] = {}
    for y, x in np.argwhere((instance > 0) & (semantic != IGNORE) & ~crowd).tolist():
        pixels.setdefault(int(instance[y, x]), []).append((y, x))
    return pixels


def find_center(pixels: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the mean coordinate, each rounded half to even (Python's round)."""
    return tuple(round(sum(pixel[axis] for pixel in pixels) / len(pixels)) for axis in (0, 1))


def encode_slowly(
    semantic: np.ndarray, instance: np.ndarray, crowd: np.ndarray, *, sigma: float, small_area: int, small_weight: float
) -> SlowTargets:
    """Return what `encode_targets` should return for one image [height, width]."""
    shape = semantic.shape
    targets = SlowTargets(np.ones(shape), np.zeros(shape), np.zeros(shape), np.zeros((2, *shape)), np.zeros(shape))
    for y, x in np.ndindex(shape):
        targets.center_weight[y, x] = semantic[y, x] != IGNORE and not crowd[y, x]
    reach = (int(6 * sigma + 3) - 1) // 2
    for pixels in list_instances(semantic, instance, crowd).values():
        center_y, center_x = find_center(pixels)
        for y, x in pixels:
            targets.offset[:, y, x] = center_y - y, center_x - x
            targets.offset_weight[y, x] = 1
            if len(pixels) < small_area:
                targets.semantic_weight[y, x] = small_weight
        for y, x in np.ndindex(shape):
            if abs(y - center_y) <= reach and abs(x - center_x) <= reach:
                value = math.exp(-((y - center_y) ** 2 + (x - center_x) ** 2) / (2 * sigma**2))
                targets.center_heatmap[y, x] = max(targets.center_heatmap[y, x], value)
    return targets
