"""Scores of image classification: top-1, top-5, accuracy of each class, and which classes are taken for which."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from axial_deeplab.records import Category

TOP = 5
"""int: A label among so many of the best counts for the second score."""


@dataclass(frozen=True)
class ClassReport:
    """Scores of one network on one split.

    Attributes:
        names: Of the classes, in the order of the rows and columns below.
        confusion: Images of class (row) that were taken for class (column).
        top1: Share of images whose label had the highest score, 0 .. 1.
        top5: Share whose label was among the five highest; `None` where there are no more than five classes.
    """

    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    top1: float
    top5: float | None

    @property
    def images(self) -> int:
        """Images scored."""
        return sum(map(sum, self.confusion))

    @property
    def per_class(self) -> dict[str, dict[str, Any]]:
        """Accuracy (0 .. 1, `None` for a class without images) and images of each class."""
        rows = {}
        for number, (name, row) in enumerate(zip(self.names, self.confusion, strict=True)):
            rows[name] = {"accuracy": row[number] / sum(row) if sum(row) else None, "images": sum(row)}
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return plain values; the confusion matrix has a row for each true class."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "scored": self.images,
            "per_class": self.per_class,
            "confusion": [list(row) for row in self.confusion],
        }

    def format_table(self) -> str:
        """Lay the scores out for people, in percent."""
        lines = [f"{'':<24}{'accuracy':>10}{'images':>10}", f"{'top-1':<24}{100 * self.top1:>10.2f}{self.images:>10}"]
        if self.top5 is not None:
            lines.append(f"{'top-5':<24}{100 * self.top5:>10.2f}{self.images:>10}")
        for name, row in self.per_class.items():
            accuracy = "-" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f}"
            lines.append(f"{name:<24}{accuracy:>10}{row['images']:>10}")
        return "\n".join(lines)


class ClassScores:
    """Count, batch by batch, what a classifier says.

    Args:
        categories: The class table; labels are positions in it.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.names = tuple(category.name for category in categories)
        self.confusion = torch.zeros(len(self.names), len(self.names), dtype=torch.int64)
        self.among_top = 0

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch.

        Args:
            logits: [batch, class], of any device; of equal ones the first class counts as higher.
            labels: int64 [batch].
        """
        order = logits.detach().float().cpu().sort(dim=1, descending=True, stable=True).indices
        labels = labels.cpu()
        pairs = labels * len(self.names) + order[:, 0]
        self.confusion += torch.bincount(pairs, minlength=self.confusion.numel()).view_as(self.confusion)
        self.among_top += int((order[:, :TOP] == labels[:, None]).any(1).sum())

    def merge(self, other: "ClassScores") -> None:
        """Add the counts of other images."""
        self.confusion += other.confusion
        self.among_top += other.among_top

    def compute(self) -> ClassReport:
        """Return the scores of all images so far, at least one."""
        images = int(self.confusion.sum())
        top5 = self.among_top / images if len(self.names) > TOP else None
        rows = tuple(tuple(row) for row in self.confusion.tolist())
        return ClassReport(self.names, rows, int(self.confusion.diagonal().sum()) / images, top5)
