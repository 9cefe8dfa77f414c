"""Draw a confusion matrix, with Pillow alone."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_INK, _PAPER, _FAINT = (30, 30, 30), (255, 255, 255), (222, 222, 222)
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
    left = _MARGIN + (int(max(font.getlength(name) for name in names)) + 8 if named else _TEXT + 8)
    top = 3 * _TEXT + _MARGIN
    right, bottom = left + side * len(names), top + side * len(names)
    width = max(right + _MARGIN, _MARGIN * 2 + int(font.getlength(title)))
    picture = Image.new("RGB", (width, bottom + (left if named else 3 * _TEXT)), _PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, _MARGIN // 2), title, _INK, font=font)
    for row, counts in enumerate(confusion):
        for column, count in enumerate(counts):
            box = left + column * side, top + row * side, left + (column + 1) * side, top + (row + 1) * side
            share = count / sum(counts) if sum(counts) else 0.0
            color = _mix(_RIGHT if row == column else _WRONG, share)
            pen.rectangle(box, fill=color, outline=_FAINT if named else None)
            if named and count:
                middle = (box[0] + side / 2, box[1] + side / 2)
                pen.text(middle, str(count), _PAPER if share > 0.5 else _INK, font=font, anchor="mm")
    pen.rectangle((left, top, right, bottom), outline=_INK)
    pen.text((left, 2 * _TEXT), "rows: true class, columns: predicted class", _INK, font=font)
    if named:
        _write_names(picture, names, (left, top), side)
    return picture


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


def _mix(color: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    """Return a color between paper and `color`; small shares stay visible."""
    strength = share**0.5
    red, green, blue = (round(paper + strength * (ink - paper)) for paper, ink in zip(_PAPER, color, strict=True))
    return red, green, blue
