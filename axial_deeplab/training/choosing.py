"""Hold fitted settings against the defaults: what lowers the ceiling of the score goes back to its default."""

from collections.abc import Sequence
from typing import NamedTuple

from axial_deeplab.data.check.split import CheckedSplit
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.training.ceiling import Ceiling, Geometry, measure_ceilings
from axial_deeplab.training.config import TargetConfig
from axial_deeplab.training.fitting import FittedValue, apply_values

DEFAULT = Geometry()
"""Geometry: Of a recipe that says nothing."""

CITYSCAPES = Geometry(TargetConfig(), PostprocessConfig(nms_kernel=13, stuff_area_limit=2048))
"""Geometry: The published one for Cityscapes, for images of 1025x2049 pixels; to compare with."""

FALLBACKS: tuple[tuple[str, ...], ...] = (
    ("postprocess.stuff_area_limit",),
    ("postprocess.nms_kernel",),
    ("postprocess.stuff_area_limit", "postprocess.nms_kernel", "targets.sigma"),
)
"""tuple: Fields to give up, in the order of trial; without the last ones nothing differs from the default."""


class Choice(NamedTuple):
    """The settings to use, and the ceilings by stride under the default, Cityscapes' and these settings."""

    values: tuple[FittedValue, ...]
    ceilings: dict[str, dict[int, Ceiling]]


def choose_values(values: Sequence[FittedValue], split: CheckedSplit, *, sample: int, workers: int = 0) -> Choice:
    """Return the fitted values, less those that make the ceiling lower than it is with the defaults."""
    geometries = [DEFAULT, CITYSCAPES, _take_geometry(values)]
    default, cityscapes, fitted = measure_ceilings(split, geometries, sample=sample, workers=workers)
    kept = tuple(values)
    if not _is_as_good(fitted, default):
        trials = [tuple(_reset(value) if value.field in fields else value for value in values) for fields in FALLBACKS]
        measured = measure_ceilings(split, [_take_geometry(trial) for trial in trials], sample=sample, workers=workers)
        kept, fitted = next(pair for pair in zip(trials, measured, strict=True) if _is_as_good(pair[1], default))
    return Choice(kept, {"default": default, "cityscapes": cityscapes, "fitted": fitted})


def _take_geometry(values: Sequence[FittedValue]) -> Geometry:
    recipe = apply_values(values, {}, "fitted")
    return Geometry(recipe.targets, recipe.postprocess)


def _reset(value: FittedValue) -> FittedValue:
    table, _, name = value.field.partition(".")
    default = getattr(getattr(DEFAULT, table), name)
    return FittedValue(value.field, default, f"the default: {value.value}, from the statistics, lowers the ceiling")


def _is_as_good(ceiling: dict[int, Ceiling], default: dict[int, Ceiling]) -> bool:
    return all(ceiling[stride].all >= default[stride].all - 1e-9 for stride in default)
