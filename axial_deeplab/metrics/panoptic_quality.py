"""Panoptic quality (PQ), equal to the official evaluator of COCO panoptic.

A truth segment and a predicted one of the same class match when their intersection over union exceeds one half; crowd and
void are spared from blame. Of each image only counts are kept.

Source: Kirillov et al., "Panoptic Segmentation" (https://arxiv.org/abs/1801.00868); rules of cocodataset/panopticapi.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from axial_deeplab.data.layouts.mapillary import read_truth
from axial_deeplab.data.panoptic_png import check_segments
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.overlaps import Overlaps, clear_ids, measure_overlaps, read_overlaps, sum_pixels, to_array
from axial_deeplab.metrics.pairs import list_pairs
from axial_deeplab.metrics.workers import Workers
from axial_deeplab.records import VOID_ID, Category, Segment

IOU_UNIT = 2**53
"""int: The IoU of a match, above one half, is an integer of this unit: sums are exact, alike in any order."""


class Quality(NamedTuple):
    """Averages over `n` classes, those with any segment in truth or prediction; fractions, 0 when there are none."""

    pq: float
    sq: float
    rq: float
    n: int


class ClassQuality(NamedTuple):
    """The figures of one class; `n` is 1, or 0 for a class without any segment."""

    pq: float
    sq: float
    rq: float
    n: int
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class PanopticReport:
    """What `PanopticQuality.compute` found; `per_class` is keyed by the dataset's category id."""

    all: Quality
    things: Quality
    stuff: Quality
    per_class: dict[int, ClassQuality]

    def to_json(self) -> dict[str, dict]:
        """Return plain dictionaries under the keys All, Things, Stuff and per_class."""
        per_class = {str(category_id): quality._asdict() for category_id, quality in self.per_class.items()}
        return {**{name: quality._asdict() for name, quality in self._groups()}, "per_class": per_class}

    def format_table(self) -> str:
        """Return the averages as a table for the terminal, in percent."""
        rows = [
            f"{name:<10}| {100 * q.pq:5.1f}  {100 * q.sq:5.1f}  {100 * q.rq:5.1f} {q.n:5d}"
            for name, q in self._groups()
        ]
        return "\n".join([f"{'':<10}| {'PQ':>5}  {'SQ':>5}  {'RQ':>5} {'N':>5}", *rows])

    def _groups(self) -> list[tuple[str, Quality]]:
        return [("All", self.all), ("Things", self.things), ("Stuff", self.stuff)]


class PanopticQuality:
    """Collect the counts of PQ image by image.

    Instances are small and can be pickled: processes that each see a part of the images send theirs to one that merges.

    Attributes:
        categories: The classes, by contiguous id.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        """Start with empty counts; the position of a class in `categories` is its contiguous id."""
        self.categories = tuple(categories)
        self._tp, self._fp, self._fn = np.zeros((3, len(self.categories)), np.int64)
        self._iou = [0] * len(self.categories)

    def update(
        self,
        truth_map: Tensor | np.ndarray,
        truth_segments: Sequence[Segment],
        predicted_map: Tensor | np.ndarray,
        predicted_segments: Sequence[Segment],
    ) -> None:
        """Count one image.

        Args:
            truth_map: Segment ids, integer [height, width], 0 .. 2^24 - 1, `VOID_ID` where unlabeled; on any device.
            truth_segments: One entry for every id in it, with contiguous class. Its `area` enters the union as it is, the
                way the official evaluator takes it from the file; 0 stands for the number of pixels.
            predicted_map: The same for the prediction.
            predicted_segments: The same; areas and crowd flags do not matter.

        Raises:
            InputError: The sizes differ, a map and its segments do not agree, or there is no such class.
        """
        overlaps = measure_overlaps(to_array(truth_map), to_array(predicted_map))
        self.update_overlaps(overlaps, truth_segments, predicted_segments)

    def update_overlaps(
        self,
        overlaps: Overlaps,
        truth_segments: Sequence[Segment],
        predicted_segments: Sequence[Segment],
        *,
        names: tuple[str, str] = ("the truth", "the prediction"),
    ) -> None:
        """Count one image whose shared pixels are known, `measure_overlaps(truth, prediction)`.

        Raises:
            InputError: As `update`; `names` are those of the maps in messages.
        """
        for segment in (*truth_segments, *predicted_segments):
            if not 0 <= segment.category_id < len(self.categories):
                raise InputError(f"segment {segment.id} has class {segment.category_id} of {len(self.categories)}")
        truth_pixels, predicted_pixels = sum_pixels(overlaps, 0), sum_pixels(overlaps, 1)
        check_segments(truth_pixels, truth_segments, names[0])
        check_segments(predicted_pixels, predicted_segments, names[1])
        matches = match_segments(truth_segments, predicted_segments, overlaps, (truth_pixels, predicted_pixels))
        for _, guess, iou in matches:
            self._tp[guess.category_id] += 1
            self._iou[guess.category_id] += int(iou * IOU_UNIT)
        found = {actual.id for actual, _, _ in matches}
        for segment in truth_segments:
            self._fn[segment.category_id] += segment.id not in found and not segment.is_crowd
        explained = {guess.id for _, guess, _ in matches}
        # Of several crowd regions of a class, the official evaluator heeds the last.
        crowds = {segment.category_id: segment.id for segment in truth_segments if segment.is_crowd}
        for segment in predicted_segments:
            if segment.id not in explained:
                spared = overlaps.get((VOID_ID, segment.id), 0)
                spared += overlaps.get((crowds.get(segment.category_id, -1), segment.id), 0)
                self._fp[segment.category_id] += spared / predicted_pixels[segment.id] <= 0.5

    def merge(self, other: "PanopticQuality") -> None:
        """Add the counts of another accumulator over the same classes."""
        if other.categories != self.categories:
            raise InputError("counts over different classes cannot be merged: use one class list in all processes")
        self._tp += other._tp
        self._fp += other._fp
        self._fn += other._fn
        self._iou = [own + more for own, more in zip(self._iou, other._iou, strict=True)]

    def compute(self) -> PanopticReport:
        """Return the averages and the figures of each class; the counts stay."""
        counts = zip(self._iou, self._tp.tolist(), self._fp.tolist(), self._fn.tolist(), strict=True)
        per_class = {category: _rate(*figures) for category, figures in zip(self.categories, counts, strict=True)}
        return PanopticReport(
            all=_average(list(per_class.values())),
            things=_average([quality for category, quality in per_class.items() if category.is_thing]),
            stuff=_average([quality for category, quality in per_class.items() if not category.is_thing]),
            per_class={category.id: quality for category, quality in per_class.items()},
        )


def compute_panoptic_quality(
    ground_truth_json: Path | str,
    predictions_json: Path | str,
    *,
    truth_folder: Path | str | None = None,
    prediction_folder: Path | str | None = None,
) -> PanopticReport:
    """Score a COCO panoptic pair on disk: every image of the truth, in its order.

    Args:
        ground_truth_json: The truth, with `annotations` and `categories`.
        predictions_json: The predictions; `categories` may be left out. Further images in it are passed over.
        truth_folder: Where the PNGs of the truth are; by default the folder named like its JSON.
        prediction_folder: The same for the predictions.

    Raises:
        InputError: A file is absent or broken, an image has no prediction, or JSON and PNG do not agree; names the file.
    """
    truth = read_truth(Path(ground_truth_json))
    pairs = list_pairs(truth, Path(predictions_json), (truth_folder, prediction_folder))
    metric = PanopticQuality(truth.categories)
    with Workers(1, None) as workers:
        overlaps = workers.map(_read, ((pair.truth, pair.prediction) for pair in pairs))
        for pair, shared in zip(pairs, overlaps, strict=True):
            shared = clear_ids(shared, pair.void)
            metric.update_overlaps(shared, pair.truth_segments, pair.predicted_segments, names=pair.names)
    return metric.compute()


def _read(_: None, paths: tuple[Path, Path]) -> Overlaps:
    return read_overlaps(*paths)


def match_segments(
    truth: Sequence[Segment],
    predicted: Sequence[Segment],
    overlaps: Overlaps,
    pixels: tuple[dict[int, int], dict[int, int]],
) -> list[tuple[Segment, Segment, float]]:
    """Return the matching pairs of segments, each with its intersection over union.

    Args:
        truth: The segments of the truth; crowd matches nothing. Areas as in `PanopticQuality.update`.
        predicted: Those of the prediction.
        overlaps: Their shared pixels.
        pixels: Pixels by id in the truth and in the prediction, void included.
    """
    actual_by_id = {segment.id: segment for segment in truth if not segment.is_crowd}
    guess_by_id = {segment.id: segment for segment in predicted}
    matches = []
    for (truth_id, predicted_id), intersection in overlaps.items():
        actual, guess = actual_by_id.get(truth_id), guess_by_id.get(predicted_id)
        if actual is None or guess is None or actual.category_id != guess.category_id:
            continue
        area = (actual.area or pixels[0][truth_id]) + pixels[1][predicted_id]
        iou = intersection / (area - intersection - overlaps.get((VOID_ID, predicted_id), 0))
        if iou > 0.5:
            matches.append((actual, guess, iou))
    return matches


def _rate(total: int, tp: int, fp: int, fn: int) -> ClassQuality:
    """Return the figures of a class from its counts and the sum of the IoUs of its matches, in units of `IOU_UNIT`."""
    if not tp + fp + fn:
        return ClassQuality(0.0, 0.0, 0.0, 0, 0, 0, 0)
    iou = total / IOU_UNIT
    weight = tp + 0.5 * fp + 0.5 * fn
    return ClassQuality(iou / weight, iou / tp if tp else 0.0, tp / weight, 1, tp, fp, fn)


def _average(classes: Sequence[ClassQuality]) -> Quality:
    n = sum(quality.n for quality in classes)
    pq, sq, rq = (sum(quality[i] for quality in classes) / max(n, 1) for i in range(3))
    return Quality(pq, sq, rq, n)
