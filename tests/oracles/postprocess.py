"""Post-processing of one image, pixel by pixel in float64: slow, plain, for comparison only."""

from collections import Counter
from typing import NamedTuple

import numpy as np


class SlowSegment(NamedTuple):
    id: int
    category_id: int
    is_thing: bool
    score: float
    area: int


def find_centers_slowly(heatmap: np.ndarray, threshold: float, kernel: int) -> list[tuple[int, int]]:
    """Return the local maxima above the threshold in raster order."""
    height, width = heatmap.shape
    before, after = (kernel - 1) // 2, kernel // 2
    centers = []
    for y, x in np.ndindex(heatmap.shape):
        rows = range(max(0, y - before), min(height, y + after + 1))
        columns = range(max(0, x - before), min(width, x + after + 1))
        largest = max(heatmap[row, column] for row in rows for column in columns)
        if heatmap[y, x] > threshold and heatmap[y, x] == largest:
            centers.append((y, x))
    return centers


def group_slowly(offset: np.ndarray, centers: list[tuple[int, int]], mask: np.ndarray) -> np.ndarray:
    """Return 1 + the index of the nearest center, the first of equals, on the mask, else 0."""
    instance = np.zeros(mask.shape, dtype=np.int32)
    for y, x in np.ndindex(mask.shape):
        if mask[y, x] and centers:
            vote_y, vote_x = y + float(offset[0, y, x]), x + float(offset[1, y, x])
            distances = [(vote_y - center[0]) ** 2 + (vote_x - center[1]) ** 2 for center in centers]
            instance[y, x] = 1 + distances.index(min(distances))
    return instance


def merge_slowly(
    semantic: np.ndarray, instance: np.ndarray, is_thing: list[bool], stuff_area_limit: int, void_class: int | None
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return the map of segments, and for each segment its class and its instance (0 for stuff)."""
    panoptic = np.zeros(semantic.shape, dtype=np.int32)
    found: list[tuple[int, int]] = []
    for owner in dict.fromkeys(int(value) for value in instance.flatten() if value > 0):
        count = Counter(int(value) for value in semantic[instance == owner])
        majority = min(count, key=lambda category: (-count[category], category))
        found.append((majority, owner))
        panoptic[instance == owner] = len(found)
    for category, thing in enumerate(is_thing):
        stuff = semantic == category
        if not thing and category != void_class and stuff.sum() >= max(stuff_area_limit, 1):
            found.append((category, 0))
            panoptic[stuff] = len(found)
    return panoptic, found


def postprocess_slowly(
    probs: np.ndarray,
    heatmap: np.ndarray,
    offset: np.ndarray,
    is_thing: list[bool],
    *,
    threshold: float,
    kernel: int,
    stuff_area_limit: int,
    void_class: int | None,
) -> tuple[np.ndarray, list[SlowSegment]]:
    """Return what `postprocess_probabilities` should return for one image."""
    semantic = probs.argmax(0)
    thing_mask = np.array([thing and category != void_class for category, thing in enumerate(is_thing)])[semantic]
    centers = find_centers_slowly(heatmap, threshold, kernel)
    instance = group_slowly(offset, centers, thing_mask)
    panoptic, found = merge_slowly(semantic, instance, is_thing, stuff_area_limit, void_class)
    segments = []
    for number, (category, owner) in enumerate(found, start=1):
        score = float(probs[category][panoptic == number].astype(np.float64).mean())
        if owner:
            score *= float(heatmap[centers[owner - 1]])
        segments.append(SlowSegment(number, category, owner > 0, min(1.0, score), int((panoptic == number).sum())))
    return panoptic, segments
