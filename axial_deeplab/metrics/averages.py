"""Averages in which NaN stands for "nothing to score"."""

import math
from collections.abc import Iterable


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
