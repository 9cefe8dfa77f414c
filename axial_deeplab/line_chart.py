"""Draw curves, with Pillow alone."""

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from axial_deeplab.colors import PALETTE

_WIDTH, _HEIGHT = 720, 440
_LEFT, _TOP, _RIGHT, _BOTTOM = 56, 72, 24, 60  # margins around the area of the curves
_TEXT = 14  # height of the letters
_SMOOTH = 3  # drawn so many times larger and reduced: lines get smooth edges
_INK, _FAINT, _PAPER = (30, 30, 30), (222, 222, 222), (255, 255, 255)


Points = Sequence[tuple[float, float]]


def draw_line_chart(curves: Mapping[str, Points], *, title: str, label: str, logarithmic: bool = False) -> Image.Image:
    """Draw one curve a name; the vertical axis starts at 0.

    Args:
        curves: Points (x, y) of each, by ascending x; y is 0 or more, and both are finite.
        title: Stands above, and says what the values are.
        label: Says what x is.
        logarithmic: Whether the horizontal axis is, with a tick at every x, which must be positive; otherwise it starts at 0,
            with ticks at round values.
    """
    chart = _Chart(list(curves.values()), logarithmic=logarithmic)
    chart.draw_axes(title, label)
    chart.draw_curves(curves)
    return chart.picture.reduce(_SMOOTH)


def choose_step(highest: float) -> float:
    """Return 1, 2 or 5 times a power of ten: the smallest that needs at most six steps to reach the highest value."""
    power = 10.0 ** math.floor(math.log10(max(highest, 1e-9) / 6))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 6 >= highest)


class _Chart:
    """A picture, and where values lie on it."""

    def __init__(self, curves: Sequence[Points], *, logarithmic: bool) -> None:
        self.scale = math.log if logarithmic else float
        places = sorted({x for points in curves for x, _ in points})
        if not logarithmic:
            step = choose_step(places[-1])
            places = [number * step for number in range(max(1, math.ceil(places[-1] / step - 1e-9)) + 1)]
        self.ticks = places
        highest = max(y for points in curves for _, y in points)
        self.step = choose_step(highest)
        self.top = max(1, math.ceil(highest / self.step - 1e-9)) * self.step
        self.picture = Image.new("RGB", (_WIDTH * _SMOOTH, _HEIGHT * _SMOOTH), _PAPER)
        self.pen = ImageDraw.Draw(self.picture)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point lies, in pixels of the finished picture."""
        low, high = self.scale(self.ticks[0]), self.scale(self.ticks[-1])
        share = (self.scale(x) - low) / (high - low) if high > low else 0.5
        return (
            _LEFT + 12 + share * (_WIDTH - _LEFT - _RIGHT - 24),
            _HEIGHT - _BOTTOM - y / self.top * (_HEIGHT - _TOP - _BOTTOM),
        )

    def draw_axes(self, title: str, label: str) -> None:
        """Draw the grid, its numbers, and what they are."""
        for number in range(round(self.top / self.step) + 1):
            value = number * self.step
            height = self.place(self.ticks[0], value)[1]
            self.draw_line([(_LEFT, height), (_WIDTH - _RIGHT, height)], _INK if number == 0 else _FAINT, 1)
            self.write((_LEFT - 8, height), f"{value:g}", "rm")
        for value in self.ticks:
            left, bottom = self.place(value, 0)
            self.draw_line([(left, bottom), (left, bottom + 5)], _INK, 1)
            self.write((left, bottom + 8), f"{value:g}", "ma")
        self.write(((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 26), label, "ma")
        self.write((16, 14), title, "la", size=_TEXT + 3)

    def draw_curves(self, curves: Mapping[str, Points]) -> None:
        """Draw the curves with a dot at each value, and a legend above them."""
        left = float(_LEFT)
        for (name, points), color in zip(curves.items(), PALETTE, strict=False):
            placed = [self.place(*point) for point in points]
            self.draw_line(placed, color, 2.5)
            for point in placed:
                self.draw_dot(point, color)
            self.draw_line([(left, 52), (left + 26, 52)], color, 2.5)
            self.draw_dot((left + 13, 52), color)
            self.write((left + 34, 52), name, "lm")
            left += 62 + ImageFont.load_default(_TEXT).getlength(name)

    def draw_line(self, points: Sequence[tuple[float, float]], color: tuple[int, int, int], width: float) -> None:
        """Draw a line through points."""
        scaled = [(x * _SMOOTH, y * _SMOOTH) for x, y in points]
        self.pen.line(scaled, fill=color, width=round(width * _SMOOTH), joint="curve")

    def draw_dot(self, center: tuple[float, float], color: tuple[int, int, int]) -> None:
        """Mark a value."""
        self.pen.circle((center[0] * _SMOOTH, center[1] * _SMOOTH), 4 * _SMOOTH, fill=color)

    def write(self, place: tuple[float, float], text: str, anchor: str, *, size: int = _TEXT) -> None:
        """Write one line of text; the anchor is Pillow's."""
        font = ImageFont.load_default(size * _SMOOTH)
        self.pen.text((place[0] * _SMOOTH, place[1] * _SMOOTH), text, fill=_INK, font=font, anchor=anchor)
