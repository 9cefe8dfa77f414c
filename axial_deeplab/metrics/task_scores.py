"""Score panoptic, instance and semantic segmentation from one panoptic prediction an image.

What costs time, decoding maps and cutting them into runs, is `measure_maps` and can be done anywhere; counting what was
measured takes little and is done in the order of the images. So any number of processes gives the same figures to the bit.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.panoptic_json import ImageId
from axial_deeplab.data.panoptic_png import MAX_ID, check_segments
from axial_deeplab.data.run_lengths import encode_segments
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.average_precision import CityscapesAveragePrecision, PrecisionReport
from axial_deeplab.metrics.cityscapes_iou import CityscapesIoU, CityscapesIoUReport
from axial_deeplab.metrics.coco_average_precision import CocoAveragePrecision, CocoPrecisionReport
from axial_deeplab.metrics.mean_iou import MeanIoU, MeanIoUReport
from axial_deeplab.metrics.overlaps import Overlaps, map_ids, measure_overlaps, read_overlaps, read_pair, sum_pixels
from axial_deeplab.metrics.panoptic_quality import PanopticQuality, PanopticReport
from axial_deeplab.records import IGNORE_LABEL, VOID_ID, Category, Segment

TASKS = ("panoptic", "instance", "semantic")


class Measure(NamedTuple):
    """What scoring needs to know of a pair of maps: small, whatever their size."""

    overlaps: Overlaps
    truth_runs: dict[int, str]  # compressed run lengths by segment id; empty where nobody asks
    predicted_runs: dict[int, str]
    size: tuple[int, ...]  # height, width; empty where nobody asks
    on_void: Overlaps | None = None  # with a map that is 0 where void excuses instances; None: all void does


Things = tuple[Collection[int], Collection[int]]
"""Ids of the things in truth and prediction."""


def measure_maps(
    truth: np.ndarray, predicted: np.ndarray, things: Things | None, *, blamed: np.ndarray | None = None
) -> Measure:
    """Measure two maps of segment ids, integer [height, width].

    Args:
        truth: The truth.
        predicted: The prediction.
        things: As `TaskScores.choose_things` says.
        blamed: As in `PanopticRecord`.

    Raises:
        InputError: The sizes differ, or an id is out of range.
    """
    overlaps = measure_overlaps(truth, predicted)
    on_void = None if blamed is None else measure_overlaps((truth != VOID_ID) | blamed, predicted)
    runs = [{}, {}] if things is None else [encode_segments(truth, things[0]), encode_segments(predicted, things[1])]
    return Measure(overlaps, runs[0], runs[1], truth.shape, on_void)


def measure_files(truth: Path, predicted: Path, things: Things | None) -> Measure:
    """Measure two panoptic PNGs; `things` as `TaskScores.choose_things` says.

    Raises:
        InputError: A file cannot be used, or the sizes differ; names it.
    """
    if things is None:
        return Measure(read_overlaps(truth, predicted), {}, {}, ())
    pixels = read_pair(truth, predicted)
    return measure_maps(pixels[0] & MAX_ID, pixels[1] & MAX_ID, things)


def is_cityscapes(categories: Sequence[Category]) -> bool:
    """Return whether these are the classes of Cityscapes, by name, whatever their ids and order."""
    official = {(category.name, category.is_thing) for category in load_catalog("cityscapes")}
    return {(category.name, category.is_thing) for category in categories} == official


def list_tasks(categories: Sequence[Category]) -> tuple[str, ...]:
    """Return the tasks that can be scored: instances only where there are things, and an evaluator for them."""
    has_things = any(category.is_thing for category in categories)
    can_rank = is_cityscapes(categories) or find_spec("faster_coco_eval") is not None
    return tuple(task for task in TASKS if task != "instance" or (has_things and can_rank))


def explain_left_out(categories: Sequence[Category]) -> str | None:
    """Return a line that says why `list_tasks` leaves out instances, None if it does not or there are none."""
    if "instance" in list_tasks(categories) or not any(category.is_thing for category in categories):
        return None
    return "AP of instances is left out, because faster-coco-eval is not installed: pip install 'axial-deeplab[eval]'"


@dataclass(frozen=True)
class TaskReport:
    """What `TaskScores.compute` found; None for what was not asked for.

    Attributes:
        panoptic: PQ, SQ, RQ.
        semantic: mIoU and pixel accuracy; crowd counts with its class.
        cityscapes_iou: Of Cityscapes also iIoU, and the figures of its categories.
        instance: AP by the rules of Cityscapes for its classes, else by those of COCO.
    """

    panoptic: PanopticReport | None = None
    semantic: MeanIoUReport | None = None
    cityscapes_iou: CityscapesIoUReport | None = None
    instance: CocoPrecisionReport | PrecisionReport | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries: panoptic quality at the top, the others under the names of their fields."""
        content: dict[str, Any] = dict(self.panoptic.to_json()) if self.panoptic else {}
        named = {"semantic": self.semantic, "cityscapes_iou": self.cityscapes_iou, "instance": self.instance}
        return content | {name: report.to_json() for name, report in named.items() if report is not None}

    def format_table(self) -> str:
        """Return the averages for the terminal, in percent."""
        lines = [self.panoptic.format_table()] if self.panoptic else []
        if self.semantic:
            lines.append(_format("Semantic", mIoU=self.semantic.miou, pixels=self.semantic.pixel_accuracy))
        if self.cityscapes_iou:
            classes, groups = self.cityscapes_iou.classes, self.cityscapes_iou.groups
            lines.append(_format("Classes", IoU=classes.iou, iIoU=classes.iiou))
            lines.append(_format("Categories", IoU=groups.iou, iIoU=groups.iiou))
        if isinstance(self.instance, PrecisionReport):
            lines.append(_format("Instances", AP=self.instance.ap, AP50=self.instance.ap50))
        elif self.instance:
            lines.append(_format("Instances", **{name: self.instance.figures[name] for name in ("AP", "AP50")}))
        return "\n".join(lines)


class TaskScores:
    """Collect the counts of the chosen tasks, image by image.

    Instances can be pickled: processes that each see a part of the images send theirs to one that merges, in any order.
    Counts do not grow with the images, but ranking needs every prediction: 18 bytes for Cityscapes, its run lengths,
    some hundred bytes, for COCO.

    Attributes:
        categories: The classes, by contiguous id.
        tasks: What is scored, of `TASKS`.
    """

    def __init__(self, categories: Sequence[Category], tasks: Sequence[str] | None = None) -> None:
        """Start with empty counts.

        Args:
            categories: The position of a class is its contiguous id.
            tasks: Some of `TASKS`; by default `list_tasks(categories)`.

        Raises:
            InputError: There is no such task, or AP is asked for where faster-coco-eval is not installed.
        """
        self.categories = tuple(categories)
        self.tasks = tuple(tasks) if tasks is not None else list_tasks(categories)
        if unknown := sorted(set(self.tasks) - set(TASKS)):
            raise InputError(f"there is no task '{unknown[0]}': choose of {', '.join(TASKS)}")
        self._panoptic = PanopticQuality(categories) if "panoptic" in self.tasks else None
        self._semantic = MeanIoU(categories) if "semantic" in self.tasks else None
        street = is_cityscapes(categories)
        self._iou = CityscapesIoU(categories) if "semantic" in self.tasks and street else None
        ranked = "instance" in self.tasks
        self._street_precision = CityscapesAveragePrecision(categories) if ranked and street else None
        self._precision = CocoAveragePrecision(categories) if ranked and not street else None

    def choose_things(self, truth_segments: Sequence[Segment], predicted_segments: Sequence[Segment]) -> Things | None:
        """Return the ids of the things whose run lengths `update` needs, None if it needs none."""
        if self._precision is None:
            return None
        both = truth_segments, predicted_segments
        truth, predicted = ([s.id for s in segments if s.is_thing] for segments in both)
        return truth, predicted

    def update(
        self,
        image_id: ImageId,
        measure: Measure,
        truth_segments: Sequence[Segment],
        predicted_segments: Sequence[Segment],
        *,
        names: tuple[str, str] = ("the truth", "the prediction"),
    ) -> None:
        """Count one image.

        Args:
            image_id: Each comes once; AP ranks equal scores by it.
            measure: Of the truth and the prediction.
            truth_segments: One entry for every id in the map, with contiguous class. Areas enter PQ and AP as they
                are, the way the official evaluators take them from the file; 0 stands for the number of pixels.
            predicted_segments: The same, with scores.
            names: Of both maps, for messages.

        Raises:
            InputError: A map and its segments do not agree, there is no such class, or a score is not finite.
        """
        overlaps = measure.overlaps
        for side, segments in enumerate((truth_segments, predicted_segments)):
            check_segments(sum_pixels(overlaps, side), segments, names[side])
        truth_classes, predicted_classes = _list_classes(truth_segments), _list_classes(predicted_segments)
        if self._panoptic:
            self._panoptic.update_overlaps(overlaps, truth_segments, predicted_segments, names=names)
        if self._semantic:
            self._semantic.update_overlaps(map_ids(overlaps, truth_classes, predicted_classes))
        if self._iou:
            same = {segment_id: segment_id for segment_id in truth_classes}
            self._iou.update_overlaps(map_ids(overlaps, same, predicted_classes), truth_segments)
        if self._street_precision:
            self._street_precision.update_overlaps(overlaps, truth_segments, predicted_segments, measure.on_void)
        if self._precision:
            height, width = measure.size
            self._precision.update_runs(
                image_id,
                [(segment, measure.truth_runs[segment.id]) for segment in truth_segments if segment.is_thing],
                [(segment, measure.predicted_runs[segment.id]) for segment in predicted_segments if segment.is_thing],
                size=(height, width),
            )

    def merge(self, other: "TaskScores") -> None:
        """Add the images of another accumulator over the same classes and tasks."""
        if (other.categories, other.tasks) != (self.categories, self.tasks):
            raise InputError("counts over different classes or tasks cannot be merged: use one setting everywhere")
        for name in ("_panoptic", "_semantic", "_iou", "_street_precision", "_precision"):
            if (own := getattr(self, name)) is not None:
                own.merge(getattr(other, name))

    def compute(self) -> TaskReport:
        """Return the figures of all tasks; the counts stay."""
        ranked = self._street_precision or self._precision
        return TaskReport(
            panoptic=self._panoptic.compute() if self._panoptic else None,
            semantic=self._semantic.compute() if self._semantic else None,
            cityscapes_iou=self._iou.compute() if self._iou else None,
            instance=ranked.compute() if ranked else None,
        )


def _list_classes(segments: Sequence[Segment]) -> dict[int, int]:
    return {VOID_ID: IGNORE_LABEL} | {segment.id: segment.category_id for segment in segments}


def _format(name: str, **figures: float) -> str:
    return f"{name:<10}| " + "  ".join(f"{key} {100 * value:.1f}" for key, value in figures.items())
