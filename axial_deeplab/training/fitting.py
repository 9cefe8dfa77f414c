"""Choose the settings of a recipe that are in pixels from the statistics of a data set."""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from axial_deeplab.data.check.statistics import SIZES_PER_PIXEL, Statistics, find_percentile
from axial_deeplab.data.transforms import IMAGENET_MEAN, IMAGENET_STD
from axial_deeplab.records import Category
from axial_deeplab.serialization import from_plain
from axial_deeplab.training.ceiling import HEAD_STRIDE, PADDING
from axial_deeplab.training.config import Recipe

LARGEST_CROP = 1025 * 2049
"""int: Pixels of the largest crop, the published one for Cityscapes; larger images are cropped, for memory."""

SMALLEST_SIGMA = HEAD_STRIDE / 2
"""float: In pixels; a narrower peak can fall between the positions of the heads and fade."""

FAR_MEAN, FAR_STD = 0.1, 1.5
"""float: ImageNet's colors are kept unless a mean is farther away, or a standard deviation by a larger factor."""


FEWEST_IMAGES = 10
"""int: Fewer images say little about colors."""


class FittedValue(NamedTuple):
    """A field of a recipe, such as "targets.sigma", its value, and the statistic that it comes from."""

    field: str
    value: Any
    reason: str


def fit_recipe(statistics: Statistics) -> tuple[FittedValue, ...]:
    """Return the settings that depend on the pixels of a data set; those that it has no statistic for are left out."""
    own_size = "everything here was measured at the images' own size; over a recipe that resizes them it would be wrong"
    sides = [FittedValue(f"{table}.longest_side", None, own_size) for table in ("augment", "preprocess")]
    values = [_fit_crop(statistics), *sides, *_fit_colors(statistics)]
    if statistics.object_pixels:
        values += [
            _fit_scale(statistics),
            *_fit_targets(statistics),
            _fit_offset_loss(statistics),
            _fit_window(statistics),
        ]
    if limit := _fit_stuff_limit(statistics):
        values.append(limit)
    return tuple(values)


def apply_values(values: Sequence[FittedValue], data: dict[str, Any], name: str) -> Recipe:
    """Return the recipe with the fitted values and everything else at its default."""
    return from_plain(Recipe, {"name": name, "data": data, **_nest(values)}, where="the fitted recipe")


def format_recipe(
    values: Sequence[FittedValue], data: dict[str, Any], name: str, categories: Sequence[Category]
) -> str:
    """Return the YAML of a recipe that holds the fitted values only, each below a line that says where it comes from."""
    classes = [f"{category.name} ({'thing' if category.is_thing else 'stuff'})" for category in categories]
    lines = [
        "# What depends on the pixels of this data set, as `axial-deeplab dataset check` measured it.",
        "# All other fields keep their defaults, or those of the recipe that this file changes with --config.",
        *(f"# class {position}: {' '.join(text.split())}" for position, text in enumerate(classes)),
        f"name: {_to_yaml(name)}",
        "data:",
        *(f"  {key}: {_to_yaml(value)}" for key, value in data.items()),
    ]
    reasons = {value.field: value.reason for value in values}
    for table, fields in _nest(values).items():
        lines.append(f"{table}:")
        for key, value in fields.items():
            lines += [f"  # {reasons[f'{table}.{key}']}", f"  {key}: {_to_yaml(value)}"]
    return "\n".join(lines) + "\n"


def _fit_crop(statistics: Statistics) -> FittedValue:
    sides = [find_percentile(counts, 90) for counts in (statistics.heights, statistics.widths)]
    crop = [max(1, math.ceil((side - 1) / PADDING)) * PADDING + 1 for side in sides]
    reason = f"holds the 90th percentile of the heights, {sides[0]}, and of the widths, {sides[1]}"
    if crop[0] * crop[1] > LARGEST_CROP:
        shrink = math.sqrt(LARGEST_CROP / (crop[0] * crop[1]))
        crop = [int((side - 1) * shrink / PADDING) * PADDING + 1 for side in crop]
        reason += ", but at most as many pixels as 1025x2049"
    return FittedValue("augment.crop_size", crop, reason)


def _fit_colors(statistics: Statistics) -> list[FittedValue]:
    mean, std = statistics.measure_colors()
    if statistics.images < FEWEST_IMAGES or min(std) < 1 / 255:
        return []
    moved = max(abs(own - other) for own, other in zip(mean, IMAGENET_MEAN, strict=True))
    ratios = [own / other for own, other in zip(std, IMAGENET_STD, strict=True)]
    factor = max(max(ratio, 1 / ratio) for ratio in ratios)
    if moved <= FAR_MEAN and factor <= FAR_STD:
        return []
    reason = (
        f"of the images; from ImageNet's the mean differs by up to {moved:.2f}, the deviation by a factor {factor:.1f}"
    )
    return [
        FittedValue("preprocess.mean", [round(value, 3) for value in mean], reason),
        FittedValue("preprocess.std", [round(value, 3) for value in std], reason),
    ]


def _fit_scale(statistics: Statistics) -> FittedValue:
    size = _find_size(statistics, 25)
    smallest = min(1.0, max(0.5, round(2 * HEAD_STRIDE / max(size, 1), 2)))
    reason = f"three quarters of the objects, size {size:.1f} and up, keep two positions of the heads, or are not made smaller"
    return FittedValue("augment.min_scale", smallest, reason)


def _fit_targets(statistics: Statistics) -> list[FittedValue]:
    size, neighbor = _find_size(statistics, 50), find_percentile(statistics.neighbors, 10)
    sigma = min(size / 6, neighbor / 2) if neighbor else size / 6
    sigma = max(SMALLEST_SIGMA, round(2 * sigma) / 2)
    near = f", at most half the 10th percentile of the distances of centers, {neighbor}" if neighbor else ""
    area = round(size**2)
    counts = statistics.object_sizes
    small = sum((key / SIZES_PER_PIXEL) ** 2 * count for key, count in counts.items() if key / SIZES_PER_PIXEL < size)
    share = min(1.0, max(small / statistics.object_pixels, 1e-6))
    weight = min(3.0, max(1.0, round(math.sqrt((1 - share) / share), 1)))
    return [
        FittedValue(
            "targets.sigma", sigma, f"a sixth of the median size, {size:.1f}{near}, and at least {SMALLEST_SIGMA:g}"
        ),
        FittedValue("targets.small_instance_area", area, "the median area of the objects"),
        FittedValue(
            "targets.small_instance_weight",
            weight,
            f"objects below the median have {share:.1%} of the objects' pixels: root of others to these, within 1 .. 3",
        ),
    ]


def _fit_offset_loss(statistics: Statistics) -> FittedValue:
    distance = max(statistics.offset_sum / statistics.object_pixels, 0.5)
    reason = f"pixels are {distance:.1f} from their center along an axis, on average: a head that says 0 loses 0.5"
    return FittedValue("loss.offset", float(f"{0.5 / distance:.2g}"), reason)


def _fit_window(statistics: Statistics) -> FittedValue:
    size, neighbor = _find_size(statistics, 50), find_percentile(statistics.neighbors, 5)
    reach = min(size, neighbor) / 3 if neighbor else size / 3
    near = f"the 5th percentile of the distances of centers, {neighbor}, or " if neighbor else ""
    reason = f"reaches a third as far as {near}the median size, {size:.1f}"
    return FittedValue("postprocess.nms_kernel", 2 * max(1, int(reach)) + 1, reason)


def _fit_stuff_limit(statistics: Statistics) -> FittedValue | None:
    areas = {
        category.name: (find_percentile(sizes, 1) / SIZES_PER_PIXEL) ** 2
        for category, sizes in zip(statistics.categories, statistics.sizes, strict=True)
        if sizes and not category.is_thing
    }
    if not areas:
        return None
    name = min(areas, key=lambda key: areas[key])
    image = find_percentile(statistics.heights, 50) * find_percentile(statistics.widths, 50)
    limit = int(min(areas[name] / 2, image / 100))
    reason = (
        f"half the 1st percentile of the areas of {name}, the smallest such, {areas[name]:.0f}; at most 1 % of an image"
    )
    return FittedValue("postprocess.stuff_area_limit", limit, " ".join(reason.split()))


def _find_size(statistics: Statistics, percent: float) -> float:
    """Return a percentile of the sizes of objects, in pixels."""
    return find_percentile(statistics.object_sizes, percent) / SIZES_PER_PIXEL


def _nest(values: Sequence[FittedValue]) -> dict[str, dict[str, Any]]:
    nested: dict[str, dict[str, Any]] = {}
    for value in values:
        table, _, key = value.field.partition(".")
        nested.setdefault(table, {})[key] = value.value
    return nested


def _to_yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # YAML knows what JSON writes
