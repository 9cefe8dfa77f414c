"""Mean intersection over union (mIoU) of class maps, from one confusion matrix.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge" (IJCV 2015), section 4.2; the rules for ignored pixels
are those of mcordts/cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from axial_deeplab.errors import InputError
from axial_deeplab.records import IGNORE_LABEL, Category


@dataclass(frozen=True)
class MeanIoUReport:
    """What `MeanIoU.compute` found, fractions; NaN where neither truth nor prediction has a pixel.

    Attributes:
        miou: Mean over the classes that are not NaN.
        pixel_accuracy: Share of the labeled pixels that have the right class.
        per_class: IoU by the dataset's category id.
    """

    miou: float
    pixel_accuracy: float
    per_class: dict[int, float]

    def to_json(self) -> dict[str, float | None | dict[str, float | None]]:
        """Return plain dictionaries; None stands for NaN, which JSON does not know."""
        per_class = {str(category_id): replace_nan(iou) for category_id, iou in self.per_class.items()}
        return {
            "mIoU": replace_nan(self.miou),
            "pixel_accuracy": replace_nan(self.pixel_accuracy),
            "per_class": per_class,
        }


class MeanIoU:
    """Count the pixels of each pair of true and predicted class, image by image.

    Instances are small and can be pickled: processes that each see a part of the images send theirs to one that merges.

    Attributes:
        categories: The classes, by contiguous id.
        confusion: int64 [class, class + 1], pixels by true and predicted class; the last column is void.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        """Start with empty counts; the position of a class in `categories` is its contiguous id."""
        self.categories = tuple(categories)
        self.confusion = np.zeros((len(self.categories), len(self.categories) + 1), np.int64)

    def update(self, truth: Tensor | np.ndarray, predicted: Tensor | np.ndarray) -> None:
        """Count one image or a batch.

        Args:
            truth: Contiguous classes, integer, any shape; pixels of `IGNORE_LABEL` take no part. On any device.
            predicted: The same shape; `IGNORE_LABEL` stands for void, which is never right. `to_semantic` gives it.

        Raises:
            InputError: The shapes differ, or there is no such class.
        """
        if truth.shape != predicted.shape:
            raise InputError(f"the maps differ in size, {tuple(truth.shape)} and {tuple(predicted.shape)}")
        rows, columns = torch.as_tensor(truth).long(), torch.as_tensor(predicted).long()
        columns = columns.to(rows.device)
        n = len(self.categories)
        for labels in (rows, columns):
            if bool(((labels < 0) | ((labels >= n) & (labels != IGNORE_LABEL))).any()):
                raise InputError(f"a map holds classes that are neither 0 .. {n - 1} nor {IGNORE_LABEL}")
        labeled = rows != IGNORE_LABEL
        pair = rows[labeled] * (n + 1) + columns[labeled].clamp(max=n)
        self.confusion += torch.bincount(pair, minlength=n * (n + 1)).view(n, n + 1).cpu().numpy()

    def merge(self, other: "MeanIoU") -> None:
        """Add the counts of another accumulator over the same classes."""
        if other.categories != self.categories:
            raise InputError("counts over different classes cannot be merged: use one class list in all processes")
        self.confusion += other.confusion

    def compute(self) -> MeanIoUReport:
        """Return mIoU and the IoU of each class; the counts stay."""
        hits = np.diagonal(self.confusion)
        union = self.confusion.sum(1) + self.confusion[:, :-1].sum(0) - hits
        per_class = [divide(int(hit), int(pixels)) for hit, pixels in zip(hits, union, strict=True)]
        return MeanIoUReport(
            miou=average_defined(per_class),
            pixel_accuracy=divide(int(hits.sum()), int(self.confusion.sum())),
            per_class={category.id: iou for category, iou in zip(self.categories, per_class, strict=True)},
        )


def divide(part: float, whole: float) -> float:
    """Return `part / whole`, NaN if both are 0."""
    return part / whole if whole else math.nan


def average_defined(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN, NaN if there is none."""
    defined = [value for value in values if not math.isnan(value)]
    return divide(sum(defined), len(defined))


def replace_nan(value: float) -> float | None:
    """Return None for NaN, other values as they are."""
    return None if math.isnan(value) else value
