"""Draw a confusion matrix, with Pillow alone."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_INK, _PAPER = (30, 30, 30), (255, 255, 255)
_RIGHT, _WRONG = (38, 120, 178), (214, 96, 40)  # colors of the diagonal and of everything else, at a share of 1
_TEXT, _SIDE, _MARGIN = 14, 56, 16  # letters, cells with numbers, rim, in pixels
_NAMED = 30
"""int: With more classes cells become small and lose names and numbers."""


def draw_confusion(confusion: Sequence[Sequence[int]], names: Sequence[str], *, title: str) -> Image.Image:
    """Draw how often images of a class (row) are taken for a class (column).

    Cells are the darker the larger their share of the row; blue on the diagonal, orange elsewhere. Up to 30 classes have
    their names and counts.

    Args:
        confusion: Counts, a row for each true class.
        names: Of the classes.
        title: Stands above.
    """
    named = len(names) <= _NAMED
    side = _SIDE if named else max(1, 900 // len(names))
    font = ImageFont.load_default(_TEXT)
    left = _MARGIN + (int(max(font.getlength(name) for name in names)) + 8 if named else 0)
    top = 3 * _TEXT + _MARGIN
    right, bottom = left + side * len(names), top + side * len(names)
    width = max(right, _MARGIN + int(font.getlength(title))) + _MARGIN
    picture = Image.new("RGB", (width, bottom + (left if named else _MARGIN)), _PAPER)
    picture.paste(_color_cells(confusion).resize((right - left, bottom - top), Image.Resampling.NEAREST), (left, top))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((left, top, right, bottom), outline=_INK)
    pen.text((_MARGIN, _MARGIN // 2), title, _INK, font=font)
    pen.text((left, 2 * _TEXT), "rows: true class, columns: predicted class", _INK, font=font)
    if named:
        _write_names(picture, names, (left, top), side)
        _write_counts(picture, confusion, (left, top), side)
    return picture


def _color_cells(confusion: Sequence[Sequence[int]]) -> Image.Image:
    """Return a picture with one pixel a cell; the root of the share keeps small ones visible."""
    counts = np.asarray(confusion, np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    diagonal = np.eye(len(counts), dtype=bool)[..., None]
    ink = np.where(diagonal, np.array(_RIGHT, np.float64), np.array(_WRONG, np.float64))
    colors = _PAPER + np.sqrt(shares)[..., None] * (ink - _PAPER)
    return Image.fromarray(colors.round().astype(np.uint8))


def _write_counts(picture: Image.Image, confusion: Sequence[Sequence[int]], corner: tuple[int, int], side: int) -> None:
    """Write the counts above 0 into their cells."""
    font, (left, top), pen = ImageFont.load_default(_TEXT), corner, ImageDraw.Draw(picture)
    for row, counts in enumerate(confusion):
        for column, count in enumerate(counts):
            if count:
                ink = _PAPER if count / sum(counts) > 0.4 else _INK
                middle = left + (column + 0.5) * side, top + (row + 0.5) * side
                pen.text(middle, str(count), ink, font=font, anchor="mm")


def _write_names(picture: Image.Image, names: Sequence[str], corner: tuple[int, int], side: int) -> None:
    """Write the names beside the rows, and upright below the columns."""
    font, (left, top) = ImageFont.load_default(_TEXT), corner
    pen = ImageDraw.Draw(picture)
    below = top + side * len(names) + 8
    for number, name in enumerate(names):
        middle = side * number + side / 2
        pen.text((left - 8, top + middle), name, _INK, font=font, anchor="rm")
        label = Image.new("RGB", (int(font.getlength(name)) + 2, _TEXT + 6), _PAPER)
        ImageDraw.Draw(label).text((0, 0), name, _INK, font=font)
        upright = label.rotate(90, expand=True)
        picture.paste(upright, (int(left + middle - upright.width / 2), below))
