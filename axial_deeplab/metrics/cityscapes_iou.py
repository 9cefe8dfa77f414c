"""IoU and instance-weighted IoU (iIoU) of classes and of groups of classes, equal to the Cityscapes benchmark's.

iIoU weighs each pixel of a thing by the mean area of its class over the area of its instance, so that small objects count as
much as large ones. False positives keep their weight of 1, since they belong to no instance.

Source: Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding" (https://arxiv.org/abs/1604.01685),
section 4.1; rules of mcordts/cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from axial_deeplab.data.cityscapes_scoring import load_cityscapes_scoring
from axial_deeplab.data.panoptic_png import check_segments
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.averages import average_defined, divide, replace_nan
from axial_deeplab.metrics.overlaps import Overlaps, measure_overlaps, sum_pixels, to_array
from axial_deeplab.records import IGNORE_LABEL, VOID_ID, Category, Segment

SHARE_UNIT = 2**40
"""int: Shares of instances are summed as integers of this unit: alike in any order, exact to 1e-12."""


class IoU(NamedTuple):
    """The figures of a class or a group, fractions; NaN where there is nothing to score, iIoU where things are missing."""

    iou: float
    iiou: float


@dataclass(frozen=True)
class CityscapesIoUReport:
    """What `CityscapesIoU.compute` found.

    Attributes:
        classes: Averages over the classes: mIoU and mean iIoU.
        groups: Averages over the groups, which the benchmark calls categories.
        per_class: By the dataset's category id.
        per_group: By the name of the group.
    """

    classes: IoU
    groups: IoU
    per_class: dict[int, IoU]
    per_group: dict[str, IoU]

    def to_json(self) -> dict[str, dict]:
        """Return plain dictionaries; None stands for NaN, which JSON does not know."""
        return {
            "classes": _to_json(self.classes),
            "categories": _to_json(self.groups),
            "per_class": {str(category_id): _to_json(figures) for category_id, figures in self.per_class.items()},
            "per_category": {name: _to_json(figures) for name, figures in self.per_group.items()},
        }


class CityscapesIoU:
    """Collect the counts of IoU and iIoU image by image.

    Instances are small and can be pickled: processes that each see a part of the images send theirs to one that merges.

    Attributes:
        categories: The classes, by contiguous id, named as in `load_catalog("cityscapes")`.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        """Start with empty counts; the position of a class in `categories` is its contiguous id.

        Raises:
            InputError: The benchmark has no such class, or it differs in being a thing.
        """
        self.categories = tuple(categories)
        scoring = load_cityscapes_scoring()
        for category in self.categories:
            if category.name not in scoring.group or category.is_thing != (category.name in scoring.mean_instance_area):
                raise InputError(f"Cityscapes scores no class '{category.name}' (thing: {category.is_thing})")
        self._group_names = list(dict.fromkeys(scoring.group[category.name] for category in self.categories))
        groups = [self._group_names.index(scoring.group[category.name]) for category in self.categories]
        self._group = np.array([*groups, len(self._group_names)])  # the last is void
        self._mean_area = [scoring.mean_instance_area.get(category.name, math.nan) for category in self.categories]
        n = len(self.categories)
        self._confusion = np.zeros((n, n + 1), np.int64)
        self._instances = np.zeros(n, np.int64)
        self._class_share = [0] * n
        self._group_share = [0] * n

    def update(
        self,
        truth_map: Tensor | np.ndarray,
        truth_segments: Sequence[Segment],
        predicted_semantic: Tensor | np.ndarray,
    ) -> None:
        """Count one image.

        Args:
            truth_map: Segment ids, integer [height, width], 0 .. 2^24 - 1, `VOID_ID` where unlabeled; on any device.
            truth_segments: One entry for every id in it, with contiguous class. Crowd counts for IoU, not for iIoU.
            predicted_semantic: Contiguous classes, integer [height, width], `IGNORE_LABEL` where void; `to_semantic`.

        Raises:
            InputError: The sizes differ, the map and its segments do not agree, or there is no such class.
        """
        self.update_overlaps(measure_overlaps(to_array(truth_map), to_array(predicted_semantic)), truth_segments)

    def update_overlaps(self, overlaps: Overlaps, truth_segments: Sequence[Segment]) -> None:
        """Count the shared pixels of true segments and predicted classes of one image.

        Raises:
            InputError: As `update`.
        """
        n = len(self.categories)
        pixels = sum_pixels(overlaps, 0)
        check_segments(pixels, truth_segments, "the truth")
        classes = {segment.category_id for segment in truth_segments} | (set(sum_pixels(overlaps, 1)) - {IGNORE_LABEL})
        if unknown := sorted(number for number in classes if not 0 <= number < n):
            raise InputError(f"there are classes {unknown[:5]} outside of 0 .. {n - 1}")
        by_id = {segment.id: segment for segment in truth_segments}
        for (segment_id, guess), count in overlaps.items():
            if segment_id == VOID_ID:
                continue
            segment, column = by_id[segment_id], n if guess == IGNORE_LABEL else guess
            self._confusion[segment.category_id, column] += count
            if _is_instance(segment):
                share = count * SHARE_UNIT // pixels[segment_id]
                self._class_share[segment.category_id] += share * (column == segment.category_id)
                same = self._group[column] == self._group[segment.category_id]
                self._group_share[segment.category_id] += share * bool(same)
        for segment in truth_segments:
            self._instances[segment.category_id] += _is_instance(segment)

    def merge(self, other: "CityscapesIoU") -> None:
        """Add the counts of another accumulator over the same classes."""
        if other.categories != self.categories:
            raise InputError("counts over different classes cannot be merged: use one class list in all processes")
        self._confusion += other._confusion
        self._instances += other._instances
        self._class_share = [own + more for own, more in zip(self._class_share, other._class_share, strict=True)]
        self._group_share = [own + more for own, more in zip(self._group_share, other._group_share, strict=True)]

    def compute(self) -> CityscapesIoUReport:
        """Return the averages and the figures of classes and groups; the counts stay."""
        n = len(self.categories)
        per_class = [self._rate(np.arange(n + 1) == number, self._class_share) for number in range(n)]
        per_group = [self._rate(self._group == number, self._group_share) for number in range(len(self._group_names))]
        return CityscapesIoUReport(
            classes=_average(per_class),
            groups=_average(per_group),
            per_class={category.id: figures for category, figures in zip(self.categories, per_class, strict=True)},
            per_group=dict(zip(self._group_names, per_group, strict=True)),
        )

    def _rate(self, member: np.ndarray, share: Sequence[int]) -> IoU:
        """Return the figures of the classes `member`, bool [class + 1], taken as one."""
        rows = member[:-1]
        hits = int(self._confusion[rows][:, member].sum())
        false_positives = int(self._confusion[~rows][:, member].sum())
        iou = divide(hits, int(self._confusion[rows].sum()) + false_positives)
        members = np.flatnonzero(rows).tolist()
        if not all(self.categories[number].is_thing for number in members):
            return IoU(iou, math.nan)
        weighted_hits = sum(self._mean_area[number] * share[number] / SHARE_UNIT for number in members)
        weight = sum(self._mean_area[number] * int(self._instances[number]) for number in members)
        return IoU(iou, divide(weighted_hits, weight + false_positives))


def _is_instance(segment: Segment) -> bool:
    return segment.is_thing and not segment.is_crowd


def _average(figures: Sequence[IoU]) -> IoU:
    return IoU(average_defined(f.iou for f in figures), average_defined(f.iiou for f in figures))


def _to_json(figures: IoU) -> dict[str, float | None]:
    return {"IoU": replace_nan(figures.iou), "iIoU": replace_nan(figures.iiou)}
