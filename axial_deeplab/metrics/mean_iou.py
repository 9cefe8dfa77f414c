"""Mean intersection over union (mIoU) of class maps, from one confusion matrix.

Source: Everingham et al., "The Pascal Visual Object Classes Challenge" (IJCV 2015), section 4.2; the rules for ignored pixels
are those of mcordts/cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from axial_deeplab.errors import InputError
from axial_deeplab.metrics.averages import average_defined, divide, replace_nan
from axial_deeplab.metrics.overlaps import Overlaps, measure_overlaps, to_array
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
            truth: Contiguous classes, integer, any shape with a pixel in it, on any device; pixels of
                `IGNORE_LABEL` take no part.
            predicted: The same shape; `IGNORE_LABEL` stands for void, which is never right. `to_semantic` gives it.

        Raises:
            InputError: The shapes differ, or there is no such class.
        """
        self.update_overlaps(measure_overlaps(to_array(truth), to_array(predicted)))

    def update_overlaps(self, overlaps: Overlaps) -> None:
        """Count the shared pixels of true and predicted classes.

        Raises:
            InputError: There is no such class.
        """
        n = len(self.categories)
        known = {*range(n), IGNORE_LABEL}
        if unknown := sorted({label for pair in overlaps for label in pair} - known)[:5]:
            raise InputError(f"there are classes {unknown} that are neither 0 .. {n - 1} nor {IGNORE_LABEL}")
        for (label, guess), count in overlaps.items():
            if label != IGNORE_LABEL:
                self.confusion[label, n if guess == IGNORE_LABEL else guess] += count

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
