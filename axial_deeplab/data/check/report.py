"""Statistics of a data set for people and as plain values."""

from collections import Counter
from typing import Any

from axial_deeplab.data.check.statistics import SIZES_PER_PIXEL, Statistics, find_percentile

PERCENTS = (1, 5, 10, 25, 50, 75, 90, 95, 99)
"""tuple: The percentiles that are reported."""


def summarize(statistics: Statistics) -> dict[str, Any]:
    """Return the statistics as plain values for JSON; lengths in pixels, shares in 0..1."""
    pixels = max(1, statistics.pixels)
    mean, std = statistics.measure_colors()
    return {
        "images": statistics.images,
        "classes": [_summarize_class(statistics, position) for position in range(len(statistics.categories))],
        "void_share": statistics.void / pixels,
        "crowd_share": statistics.crowd_pixels / pixels,
        "crowd_segments": statistics.class_crowds.total(),
        "objects": statistics.object_sizes.total(),
        "objects_per_image": _list_percentiles(statistics.objects),
        "object_size": _list_percentiles(statistics.object_sizes, SIZES_PER_PIXEL),
        "object_height": _list_percentiles(statistics.object_heights),
        "object_width": _list_percentiles(statistics.object_widths),
        "neighbor_distance": _list_percentiles(statistics.neighbors),
        "image_height": _list_percentiles(statistics.heights),
        "image_width": _list_percentiles(statistics.widths),
        "mean": list(mean),
        "std": list(std),
    }


def format_statistics(statistics: Statistics) -> list[str]:
    """Lay the statistics out as lines for a terminal."""
    summary = summarize(statistics)
    width = max(5, *(len(category.name) for category in statistics.categories))
    lines = [
        f"{'class':<{width}}  {'kind':<5}{'images':>8}{'segments':>10}{'crowds':>8}{'pixels':>9}{'median size':>13}"
    ]
    for row in summary["classes"]:
        kind, share = "thing" if row["is_thing"] else "stuff", f"{row['share']:.2%}"
        lines.append(
            f"{row['name']:<{width}}  {kind:<5}{row['images']:>8}{row['segments']:>10}{row['crowds']:>8}"
            f"{share:>9}{row['median_size']:>13}"
        )
    lines.append(f"{'void':<{width}}  {'':<5}{'':>8}{'':>10}{'':>8}{summary['void_share']:>9.2%}")
    lines.append(f"crowd: {summary['crowd_segments']} segments, {summary['crowd_share']:.2%} of the pixels")
    lines += ["", f"{'percentile':<30}" + "".join(f"{percent:>8}" for percent in PERCENTS)]
    names = {
        "objects_per_image": "objects an image",
        "object_size": "object size, square root of area",
        "object_height": "object height",
        "object_width": "object width",
        "neighbor_distance": "center to nearest center",
        "image_height": "image height",
        "image_width": "image width",
    }
    for key, name in names.items():
        lines.append(f"{name:<32}" + "".join(f"{value:>8}" for value in summary[key].values())[2:])
    colors = (" ".join(f"{value:.3f}" for value in summary[key]) for key in ("mean", "std"))
    return [*lines, "", "colors: mean {}, std {} (R, G, B in 0..1)".format(*colors)]


def _summarize_class(statistics: Statistics, position: int) -> dict[str, Any]:
    category = statistics.categories[position]
    return {
        "id": category.id,
        "name": category.name,
        "is_thing": category.is_thing,
        "images": statistics.class_images[position],
        "segments": statistics.class_segments[position],
        "crowds": statistics.class_crowds[position],
        "share": statistics.class_pixels[position] / max(1, statistics.pixels),
        "median_size": find_percentile(statistics.sizes[position], 50) / SIZES_PER_PIXEL,
    }


def _list_percentiles(counts: Counter[int], unit: int = 1) -> dict[str, float]:
    values = {str(percent): find_percentile(counts, percent) for percent in PERCENTS}
    return {percent: value / unit if unit > 1 else value for percent, value in values.items()}
