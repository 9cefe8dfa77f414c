"""Choose colors for segments, and turn heatmaps and offsets into pictures."""

import colorsys
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from axial_deeplab.records import Category, Segment

Pixels = NDArray[np.uint8]  # [height, width, 3], RGB
Color = tuple[int, int, int]  # RGB, 0..255

PALETTE: tuple[Color, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (136, 34, 85),
    (51, 34, 136),
    (153, 153, 51),
)
"""tuple: Colors of categories that bring none, safe for color-blind readers (Okabe and Ito; Tol)."""

VOID_COLOR: Color = (96, 96, 96)
"""tuple: Color of void in color maps; an overlay shows the darkened gray photograph instead."""

_HEAT = np.array([(14, 12, 48), (82, 24, 118), (178, 44, 100), (244, 124, 44), (252, 248, 190)], dtype=np.float64)


def choose_color(category_id: int, categories: Sequence[Category]) -> Color:
    """Return the color of a category, or one of the palette if it has none."""
    return categories[category_id].color or PALETTE[category_id % len(PALETTE)]


def choose_colors(segments: Sequence[Segment], categories: Sequence[Category]) -> list[Color]:
    """Return one color a segment: its category's own for stuff and the first thing, shades of it for the next ones."""
    seen: Counter[int] = Counter()
    colors = []
    for segment in segments:
        color = choose_color(segment.category_id, categories)
        colors.append(_vary_shade(color, seen[segment.category_id]) if segment.is_thing else color)
        seen[segment.category_id] += 1
    return colors


def _vary_shade(color: Color, rank: int) -> Color:
    """Shift lightness and hue a little; multiples of the golden section keep the shades of neighbors in rank apart."""
    if rank == 0:
        return color
    hue, lightness, saturation = colorsys.rgb_to_hls(*(value / 255 for value in color))
    swing = (rank * 0.618034) % 1 - 0.5
    lightness = min(0.85, max(0.25, lightness + 0.5 * swing))
    red, green, blue = colorsys.hls_to_rgb((hue + 0.12 * ((rank * 0.414214) % 1 - 0.5)) % 1, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


def color_heatmap(heatmap: Tensor | NDArray) -> Pixels:
    """Color a heatmap [height, width] from dark blue (0 and below) over red to pale yellow (1 and above)."""
    values = np.asarray(heatmap.detach().float().cpu() if isinstance(heatmap, Tensor) else heatmap, dtype=np.float64)
    knots = np.linspace(0, 1, len(_HEAT))
    return np.stack([np.interp(values, knots, channel) for channel in _HEAT.T], axis=-1).round().astype(np.uint8)


def color_offsets(offset: Tensor | NDArray, mask: Tensor | NDArray | None = None, *, limit: float) -> Pixels:
    """Color a field of offsets: the direction is the hue, the length the saturation; white is no offset.

    Args:
        offset: [2, height, width], (y, x).
        mask: bool [height, width], where offsets mean something; dark gray elsewhere. None shows all.
        limit: Length in pixels that gets the full color.
    """
    values = np.asarray(offset.detach().float().cpu() if isinstance(offset, Tensor) else offset, dtype=np.float64)
    hue = np.arctan2(values[0], values[1]) * (3 / np.pi) % 6
    saturation = np.minimum(1, np.hypot(values[0], values[1]) / limit)
    # HSV to RGB at full value: each channel falls with saturation over a trapezoid of the hue.
    turns = [(shift + hue) % 6 for shift in (5, 3, 1)]
    channels = [1 - saturation * np.clip(np.minimum(turn, 4 - turn), 0, 1) for turn in turns]
    pixels = (255 * np.stack(channels, axis=-1)).round().astype(np.uint8)
    if mask is not None:
        pixels[~np.asarray(mask.cpu() if isinstance(mask, Tensor) else mask)] = 40
    return pixels
