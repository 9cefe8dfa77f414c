"""Count what became of objects and predictions by class and by size, and remember the worst images.

Sizes are counted in quarters of an octave, so that the counts of any number of images are as small as those of one; the few
bins of a report are put together from these, with about as many true objects in each.
"""

import heapq
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.data.panoptic_json import ImageId
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.object_errors import (
    EXCUSED,
    OBJECT_KINDS,
    PREDICTION_KINDS,
    ObjectErrors,
    Verdict,
    find_object_errors,
)
from axial_deeplab.metrics.overlaps import Overlaps
from axial_deeplab.metrics.panoptic_quality import PanopticQuality, Quality
from axial_deeplab.records import Category, Segment

STEPS = 4
"""int: Steps of size in an octave of the area: each spans 19 %."""

WORST = 12
"""int: How many images are remembered, unless told otherwise."""

_NUM_STEPS = 32 * STEPS  # areas below 2^32 pixels


class ScoredImage(NamedTuple):
    """What the segments of one image are; its maps are looked up again if it is among the worst."""

    number: int  # its place in the order of the images
    image_id: ImageId
    file_name: str
    prediction: Path  # the panoptic PNG
    truth_segments: Sequence[Segment]
    predicted_segments: Sequence[Segment]


class WorstImage(NamedTuple):
    """One of the images with the lowest PQ, the mean over the classes that it has."""

    image: ScoredImage
    quality: Quality
    errors: ObjectErrors


class SizeBin(NamedTuple):
    """Areas from `low` to `high` pixels, both included; the last bin has no end."""

    low: int
    high: int | None
    steps: slice  # of the counts


class ErrorCounts:
    """Collect verdicts image by image, and keep the images with the lowest PQ.

    Attributes:
        categories: The classes, by contiguous id.
        objects: Counts of true objects, int64 [class, kind, size], kinds as in `OBJECT_KINDS`.
        predictions: Counts of predictions, likewise, kinds as in `PREDICTION_KINDS`.
        images: How many images were counted.
    """

    def __init__(self, categories: Sequence[Category], *, worst: int = WORST) -> None:
        """Start with empty counts.

        Args:
            categories: The position of a class is its contiguous id.
            worst: How many images to remember.

        Raises:
            InputError: `worst` is negative.
        """
        if worst < 0:
            raise InputError(f"the number of worst images starts at 0, not {worst}")
        self.categories = tuple(categories)
        self.objects = np.zeros((len(self.categories), len(OBJECT_KINDS), _NUM_STEPS), np.int64)
        self.predictions = np.zeros((len(self.categories), len(PREDICTION_KINDS), _NUM_STEPS), np.int64)
        self.images = 0
        self._limit = worst
        self._heap: list[tuple[float, int, WorstImage]] = []  # the best of the worst first, of equals the latest

    def update(self, image: ScoredImage, overlaps: Overlaps) -> None:
        """Count one image, whose segments have been checked against its maps."""
        errors = find_object_errors(overlaps, image.truth_segments, image.predicted_segments)
        _count(self.objects, OBJECT_KINDS, errors.objects.values())
        _count(self.predictions, PREDICTION_KINDS, errors.predictions.values())
        self.images += 1
        metric = PanopticQuality(self.categories)
        metric.update_overlaps(overlaps, image.truth_segments, image.predicted_segments)
        quality = metric.compute().all
        if quality.n and self._limit:
            heapq.heappush(self._heap, (-quality.pq, -image.number, WorstImage(image, quality, errors)))
            if len(self._heap) > self._limit:
                heapq.heappop(self._heap)

    def list_worst(self) -> list[WorstImage]:
        """Return the images with the lowest PQ, the worst first, of equals the earliest."""
        return [entry[2] for entry in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]

    def choose_bins(self, number: int = 4) -> list[SizeBin]:
        """Divide the sizes of the true objects into bins of about equally many; fewer where sizes are alike.

        Without any object, the predictions are divided.
        """
        sizes = self.objects.sum((0, 1))
        return divide_sizes(sizes if sizes.any() else self.predictions.sum((0, 1)), number)


def divide_sizes(sizes: NDArray[np.int64], number: int) -> list[SizeBin]:
    """Divide counts by step of size into at most `number` bins of about equally many; the outer bins are open."""
    total = np.cumsum(sizes)
    if not total[-1]:
        return []
    cuts = {int(np.searchsorted(total, total[-1] * part / number)) + 1 for part in range(1, number)}
    # A bin above the largest size, or two cuts in one step, would hold nothing.
    ends = [cut for cut in sorted(cuts) if total[cut - 1] < total[-1]]
    starts = [0, *ends]
    return [
        SizeBin(_get_smallest(start), _get_smallest(end) - 1 if end is not None else None, slice(start, end))
        for start, end in zip(starts, [*ends, None], strict=True)
    ]


def _get_smallest(step: int) -> int:
    """Return the smallest area of a step, in pixels."""
    return int(np.ceil(2 ** (step / STEPS)))


def _find_step(area: int) -> int:
    return min(int(STEPS * np.log2(area)), _NUM_STEPS - 1)


def _count(counts: NDArray[np.int64], kinds: tuple[str, ...], verdicts: Iterable[Verdict]) -> None:
    for kind, category_id, area in verdicts:
        if kind != EXCUSED:
            counts[category_id, kinds.index(kind), _find_step(area)] += 1
