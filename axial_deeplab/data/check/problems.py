"""What can be wrong with a data set, and a list of it that stays short."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ERRORS = {
    "unusable-split": "the reader refuses the split",
    "malformed-entry": "an entry of the JSON lacks a key or has a value that cannot be",
    "duplicate-image": "an image id repeats",
    "duplicate-annotation": "several annotations have one image id",
    "duplicate-segment": "a segment id repeats within its image",
    "unannotated-image": "an image has no annotation",
    "unlisted-image": "an annotation has no image",
    "unknown-category": "a category is not in the class list",
    "missing-image": "an image file is missing",
    "unreadable-image": "an image file cannot be read",
    "missing-label": "a label file is missing",
    "unreadable-label": "a label file cannot be read",
    "unequal-sizes": "an image and its labels differ in size",
    "unlisted-segment": "ids are in the label file but not in the list",
    "absent-segment": "segments are in the list but have no pixel",
    "wrong-area": "a listed area is not the number of pixels; PQ is computed with the listed one",
    "shared-image": "an image is in two splits",
    "differing-classes": "the splits differ in their classes",
}
"""dict: Kinds of problems with which training or scoring fails or goes wrong."""

WARNINGS = {
    "empty-image": "an image has no segment",
    "repeated-image": "an image is twice in a split",
    "stuff-crowd": "stuff is flagged as crowd, which excludes it from training and scoring",
    "divided-stuff": "a class of stuff has several segments in an image, of which a prediction can match one",
    "absent-class": "a class has no pixel in the split",
}
"""dict: Kinds of problems that may be meant so."""


class Problem(NamedTuple):
    """One finding: its kind, the file, what is wrong, and the ids of image, segment or class where there are such."""

    kind: str
    file: str
    message: str
    image_id: int | str | None = None
    segment_id: int | None = None

    def format_line(self) -> str:
        """Return file, ids and message in one line."""
        ids = [] if self.image_id is None else [f"image {self.image_id!r}"]
        ids += [] if self.segment_id is None else [f"segment {self.segment_id}"]
        return ": ".join([", ".join([self.file, *ids]), " ".join(self.message.split())])


@dataclass
class ProblemList:
    """Counts of problems by kind, and the first of each.

    Attributes:
        limit: Problems of a kind that are kept; the others are counted.
        counts: Problems by kind.
        kept: The first ones, by kind, in the order in which they were added.
    """

    limit: int = 20
    counts: dict[str, int] = field(default_factory=dict)
    kept: dict[str, list[Problem]] = field(default_factory=dict)

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add problems."""
        for problem in problems:
            self._count(problem.kind, 1, [problem])

    def merge(self, other: "ProblemList") -> None:
        """Add what another list counted."""
        for kind, count in other.counts.items():
            self._count(kind, count, other.kept[kind])

    @property
    def num_errors(self) -> int:
        """The number of problems that are no mere warnings."""
        return sum(count for kind, count in self.counts.items() if kind in ERRORS)

    @property
    def num_warnings(self) -> int:
        """The number of warnings."""
        return sum(count for kind, count in self.counts.items() if kind in WARNINGS)

    def format_lines(self) -> list[str]:
        """Return the problems by kind, errors first."""
        lines = []
        for severity, kinds in (("error", ERRORS), ("warning", WARNINGS)):
            for kind in (kind for kind in kinds if kind in self.counts):
                lines.append(f"{severity} {kind}, {self.counts[kind]} times: {kinds[kind]}")
                lines += [f"  {problem.format_line()}" for problem in self.kept[kind]]
                if more := self.counts[kind] - len(self.kept[kind]):
                    lines.append(f"  and {more} more")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the kept problems by kind."""
        return {
            kind: {
                "severity": "error" if kind in ERRORS else "warning",
                "count": self.counts[kind],
                "first": [problem._asdict() for problem in self.kept[kind]],
            }
            for kind in (*ERRORS, *WARNINGS)
            if kind in self.counts
        }

    def _count(self, kind: str, count: int, problems: list[Problem]) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + count
        kept = self.kept.setdefault(kind, [])
        kept += problems[: self.limit - len(kept)]
