"""Measured scores as JSON, to stand beside the published ones: a list of objects with the fields of `MeasuredRow`.

```json
[{"recipe": "cityscapes_axial_deeplab_s", "split": "val", "scales": "single", "pq": 61.9, "ap": 34.0, "miou": 79.8,
  "hardware": "8 NVIDIA H100", "date": "2026-12-24", "commit": "1ecda93"}]
```
"""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from axial_deeplab.errors import InputError
from axial_deeplab.serialization import from_plain
from axial_deeplab.training.published import Scores


@dataclass(frozen=True)
class MeasuredRow:
    """One score of one trained network.

    Attributes:
        recipe: Name of the recipe that trained it.
        hardware: What it was trained on.
        date: Of the score, YYYY-MM-DD.
        commit: Of this repository.
        split: "val" or "test".
        scales: Whether one scale was scored, or an average over several and their mirror images.
        pq: Panoptic quality in percent, as all scores.
        pq_things: Over things.
        pq_stuff: Over stuff.
        ap: Average precision of instances.
        miou: Mean intersection over union of classes.
        top1: Share of images classified rightly.
        top5: Share whose class is among the five likeliest.
    """

    recipe: str
    hardware: str
    date: str
    commit: str
    split: Literal["val", "test"] = "val"
    scales: Literal["single", "multi"] = "single"
    pq: float | None = None
    pq_things: float | None = None
    pq_stuff: float | None = None
    ap: float | None = None
    miou: float | None = None
    top1: float | None = None
    top5: float | None = None

    def __post_init__(self) -> None:
        values = [value for value in self.scores if value is not None]
        if not values:
            raise ValueError(f"a measured row needs at least one of {', '.join(Scores._fields)}")
        if not all(0 <= value <= 100 for value in values):
            raise ValueError(f"scores are percent, 0 .. 100, got {values}")
        try:
            date.fromisoformat(self.date)
        except ValueError:
            raise ValueError(f"date must be YYYY-MM-DD, got {self.date!r}") from None
        for name in ("hardware", "commit"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} must not be empty")

    @property
    def scores(self) -> Scores:
        """All of them."""
        return Scores(self.pq, self.pq_things, self.pq_stuff, self.ap, self.miou, self.top1, self.top5)


def read_measured(path: str | Path) -> tuple[MeasuredRow, ...]:
    """Read a JSON file of measured rows.

    Raises:
        InputError: If there is no such file, or a row is at fault; the message names file and row.
    """
    path = Path(path)
    try:
        rows: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(rows, list):
        raise InputError(f"{path} must hold a list of measured rows")
    return tuple(from_plain(MeasuredRow, row, where=f"{path}: row {number}") for number, row in enumerate(rows, 1))


def read_own_rows() -> tuple[MeasuredRow, ...]:
    """Return the rows that come with the package."""
    return read_measured(Path(__file__).with_name("measured.json"))


def format_scores(scores: Scores) -> str:
    """Return the scores that there are, such as "PQ 62.6, AP 34.9, mIoU 80.5"."""
    names = ("PQ", "things", "stuff", "AP", "mIoU", "top-1", "top-5")
    return ", ".join(f"{name} {value:.1f}" for name, value in zip(names, scores, strict=True) if value is not None)
