"""Average precision (AP) of instances, equal to the Cityscapes benchmark's.

A prediction matches a true instance of its class when their intersection over union exceeds a threshold, 0.50, 0.55, .. 0.95.
What lies mostly on void, crowd or tiny instances is neither right nor wrong. AP is the area under the precision-recall curve
by trapezoids, starting at precision 1, averaged over thresholds and over the classes that the truth has. Of each prediction
its score and one byte a threshold are kept.

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding" (https://arxiv.org/abs/1604.01685),
section 4.2; rules of mcordts/cityscapesScripts, evaluation/evalInstanceLevelSemanticLabeling.py.
"""

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from axial_deeplab.data.panoptic_png import check_segments, count_pixels
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.averages import average_defined, replace_nan
from axial_deeplab.metrics.overlaps import Overlaps, measure_overlaps, sum_pixels, to_array
from axial_deeplab.metrics.precision_curve import RIGHT, WRONG, measure_precision
from axial_deeplab.records import VOID_ID, Category, Segment

THRESHOLDS = np.arange(0.5, 1.0, 0.05)
"""np.ndarray: The benchmark's own numbers, rounding included: an overlap has to exceed them."""


class ClassPrecision(NamedTuple):
    """The figures of one class: NaN for a class without true instances."""

    ap: float
    ap50: float
    num_truth: int
    num_predictions: int


@dataclass(frozen=True)
class PrecisionReport:
    """What `CityscapesAveragePrecision.compute` found; `per_class` is keyed by the dataset's category id, things only."""

    ap: float
    ap50: float
    per_class: dict[int, ClassPrecision]

    def to_json(self) -> dict[str, float | None | dict[str, dict]]:
        """Return plain dictionaries; None stands for NaN, which JSON does not know."""
        per_class = {
            str(category_id): {name: replace_nan(value) for name, value in figures._asdict().items()}
            for category_id, figures in self.per_class.items()
        }
        return {"AP": replace_nan(self.ap), "AP50": replace_nan(self.ap50), "per_class": per_class}


class _Guess(NamedTuple):
    """One predicted instance and what lies under it."""

    category_id: int
    score: float
    area: int
    excused: int  # pixels on void
    shared: dict[int, int]  # pixels by id of the true segment


class CityscapesAveragePrecision:
    """Collect scores and verdicts image by image.

    Instances can be pickled: processes that each see a part of the images send theirs to one that merges, in any order.

    Attributes:
        categories: The classes, by contiguous id; stuff is passed over.
        min_area: True instances of fewer pixels are not asked for.
    """

    def __init__(self, categories: Sequence[Category], *, min_area: int = 100) -> None:
        """Start without images; the position of a class in `categories` is its contiguous id."""
        self.categories = tuple(categories)
        self.min_area = min_area
        self._num_truth = [0] * len(self.categories)
        self._scores = [array("d") for _ in self.categories]
        self._verdicts = [bytearray() for _ in self.categories]  # one byte for each prediction and threshold

    def update(
        self,
        truth_map: Tensor | np.ndarray,
        truth_segments: Sequence[Segment],
        predicted_map: Tensor | np.ndarray,
        predicted_segments: Sequence[Segment],
        *,
        excused: np.ndarray | None = None,
    ) -> None:
        """Count one image whose prediction is a panoptic map.

        Args:
            truth_map: Segment ids, integer [height, width], 0 .. 2^24 - 1, `VOID_ID` where unlabeled; on any device.
            truth_segments: One entry for every id in it, with contiguous class. Areas are counted in the map.
            predicted_map: The same for the prediction.
            predicted_segments: The same, with scores.
            excused: Bool [height, width], where predictions are forgiven; by default the void of the truth.

        Raises:
            InputError: The sizes differ, a map and its segments do not agree, a score is not finite, or there is no such
                class.
        """
        truth, predicted = to_array(truth_map), to_array(predicted_map)
        on_void = None if excused is None else measure_overlaps(~excused, predicted)  # 0 where excused
        self.update_overlaps(measure_overlaps(truth, predicted), truth_segments, predicted_segments, on_void)

    def update_overlaps(
        self,
        overlaps: Overlaps,
        truth_segments: Sequence[Segment],
        predicted_segments: Sequence[Segment],
        on_void: Overlaps | None = None,
    ) -> None:
        """Count one image whose shared pixels are known, `measure_overlaps(truth, prediction)`.

        `on_void` are those shared with another map, 0 where predictions are forgiven; by default the truth's void.

        Raises:
            InputError: As `update`.
        """
        areas = sum_pixels(overlaps, 1)
        check_segments(areas, predicted_segments, "the prediction")
        forgiven = overlaps if on_void is None else on_void
        shared: dict[int, dict[int, int]] = {segment.id: {} for segment in predicted_segments}
        for (truth_id, predicted_id), count in overlaps.items():
            if predicted_id != VOID_ID:
                shared[predicted_id][truth_id] = count
        self._count(
            truth_segments,
            sum_pixels(overlaps, 0),
            [
                _Guess(s.category_id, s.score, areas[s.id], forgiven.get((0, s.id), 0), shared[s.id])
                for s in predicted_segments
            ],
        )

    def update_masks(
        self,
        truth_map: Tensor | np.ndarray,
        truth_segments: Sequence[Segment],
        instances: Iterable[tuple[Segment, Tensor | np.ndarray]],
        *,
        excused: np.ndarray | None = None,
    ) -> None:
        """Count one image whose prediction is a list of masks, which may overlap.

        Args:
            truth_map: As in `update`.
            truth_segments: As in `update`.
            instances: Segments with class and score, each with its mask, bool [height, width]; `to_instances` gives
                them. Empty masks are passed over. They are taken one by one: a generator saves memory.
            excused: As in `update`.

        Raises:
            InputError: As `update`.
        """
        truth = to_array(truth_map)
        void = truth == VOID_ID if excused is None else excused
        guesses = []
        for segment, mask in instances:
            inside = to_array(mask) != 0
            overlaps = measure_overlaps(truth, inside)
            shared = {truth_id: count for (truth_id, owner), count in overlaps.items() if owner}
            if shared:
                on_void = int(np.count_nonzero(void & inside))
                guesses.append(_Guess(segment.category_id, segment.score, sum(shared.values()), on_void, shared))
        self._count(truth_segments, count_pixels(truth), guesses)

    def merge(self, other: "CityscapesAveragePrecision") -> None:
        """Add the images of another accumulator over the same classes."""
        if (other.categories, other.min_area) != (self.categories, self.min_area):
            raise InputError("counts over different classes or areas cannot be merged: use one setting everywhere")
        for category_id in range(len(self.categories)):
            self._num_truth[category_id] += other._num_truth[category_id]
            self._scores[category_id].extend(other._scores[category_id])
            self._verdicts[category_id].extend(other._verdicts[category_id])

    def compute(self) -> PrecisionReport:
        """Return the averages and the figures of each class of things; the counts stay."""
        per_class = {}
        for number, category in enumerate(self.categories):
            if category.is_thing:
                scores = np.array(self._scores[number])
                verdicts = np.array(self._verdicts[number], np.uint8).reshape(-1, len(THRESHOLDS))
                num_truth = self._num_truth[number]
                aps = [measure_precision(scores, column, num_truth) for column in verdicts.T]
                per_class[category.id] = ClassPrecision(sum(aps) / len(aps), aps[0], num_truth, len(scores))
        return PrecisionReport(
            ap=average_defined(figures.ap for figures in per_class.values()),
            ap50=average_defined(figures.ap50 for figures in per_class.values()),
            per_class=per_class,
        )

    def _count(
        self, truth_segments: Sequence[Segment], truth_pixels: dict[int, int], guesses: Sequence[_Guess]
    ) -> None:
        check_segments(truth_pixels, truth_segments, "the truth")
        self._check(truth_segments, guesses)
        guesses = [guess for guess in guesses if self.categories[guess.category_id].is_thing]
        wanted = set()
        for segment in truth_segments:
            is_thing = self.categories[segment.category_id].is_thing
            if is_thing and not segment.is_crowd and truth_pixels[segment.id] >= self.min_area:
                wanted.add(segment.id)
                self._num_truth[segment.category_id] += 1
        by_class: dict[int, list[Segment]] = {}
        for segment in truth_segments:
            by_class.setdefault(segment.category_id, []).append(segment)
        found = np.zeros((len(truth_segments), len(THRESHOLDS)), bool)
        row = {segment.id: number for number, segment in enumerate(truth_segments)}
        for guess in sorted(guesses, key=lambda guess: -guess.score):  # the best score takes the instance
            verdict = np.zeros(len(THRESHOLDS), np.uint8)
            matched = np.zeros(len(THRESHOLDS), bool)
            excused = guess.excused
            for segment in by_class.get(guess.category_id, ()):
                both, area = guess.shared.get(segment.id, 0), truth_pixels[segment.id]
                over = both / (area + guess.area - both) > THRESHOLDS
                matched |= over
                # A small crowd excuses twice, as in the benchmark.
                excused += both * segment.is_crowd + both * (area < self.min_area)
                if segment.id in wanted:
                    taken = found[row[segment.id]]
                    verdict[over] = np.where(taken[over], WRONG, RIGHT)
                    taken |= over
            verdict[~matched & (excused / guess.area <= THRESHOLDS)] = WRONG
            self._scores[guess.category_id].append(guess.score)
            self._verdicts[guess.category_id].extend(verdict.tobytes())

    def _check(self, truth_segments: Sequence[Segment], guesses: Sequence[_Guess]) -> None:
        n = len(self.categories)
        for category_id in {*(s.category_id for s in truth_segments), *(guess.category_id for guess in guesses)}:
            if not 0 <= category_id < n:
                raise InputError(f"there is a segment of class {category_id} of {n}")
        if not all(math.isfinite(guess.score) for guess in guesses):
            raise InputError("a score is NaN or infinite: instances are ranked by their scores")
