"""Put images, truths, predictions and what the heads said on one sheet that explains itself."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from axial_deeplab.colors import VOID_COLOR, Color, choose_color, color_heatmap, color_offsets
from axial_deeplab.data.transforms import resize_image, resize_map
from axial_deeplab.errors import InputError
from axial_deeplab.records import VOID_ID, Category, PanopticPrediction
from axial_deeplab.visualize import draw_overlay, to_pixels

_MARGIN = 16
_TEXT = 15  # height of the letters, in pixels
_MIN_WIDTH = 640  # pixels; holds the longest line of the legend
_INK = (30, 30, 30)
_PAPER = (255, 255, 255)
_HEADS = ("image", "truth", "prediction", "center heatmap", "offsets")


class SheetRow(NamedTuple):
    """One image and what is known about it; what is None leaves its cell empty. All of one height and width.

    `offset` is shown on the things of the prediction (without one, of the truth).
    """

    image: Tensor | NDArray | Image.Image  # as in `visualize.draw_overlay`
    truth: PanopticPrediction | None = None
    prediction: PanopticPrediction | None = None
    center_heatmap: Tensor | NDArray | None = None  # [height, width], 0..1
    offset: Tensor | NDArray | None = None  # [2, height, width], (y, x), in pixels
    caption: str = ""


class _Key(NamedTuple):
    """One entry of the legend."""

    swatch: Image.Image
    text: str


def draw_contact_sheet(rows: Sequence[SheetRow], categories: Sequence[Category], *, cell: int = 320) -> Image.Image:
    """Draw one row an image: image, truth, prediction, center heatmap, offsets, with a heading, captions and a legend.

    Columns without any content are left out. Offsets of all rows share one scale.

    Args:
        rows: At least one.
        categories: The classes, by contiguous id; the legend lists those that occur.
        cell: Longer side of every picture on the sheet, in pixels; small images are enlarged, maps without smoothing.

    Raises:
        InputError: There is no row, or an image and its segments differ in size.
    """
    if not rows:
        raise InputError("a contact sheet needs at least one row")
    limit = max(_measure_offsets(row) for row in rows)
    pictures = [_draw_cells(row, categories, cell, limit) for row in rows]
    columns = [name for name in _HEADS if any(name in cells for cells in pictures)]
    lefts = {name: _MARGIN + position * (cell + _MARGIN) for position, name in enumerate(columns)}
    width = max(_MARGIN + len(columns) * (cell + _MARGIN), _MIN_WIDTH)
    legend = _draw_legend(_list_keys(rows, categories, columns, limit), width - 2 * _MARGIN)
    line = round(1.6 * _TEXT)
    heights = [line + cells["image"].height + _MARGIN for cells in pictures]
    top = 2 * _MARGIN + line
    sheet = Image.new("RGB", (width, top + sum(heights) + legend.height + _MARGIN), _PAPER)
    for name, left in lefts.items():
        _write(sheet, (left, _MARGIN), name, _TEXT + 3)
    for row, cells, height in zip(rows, pictures, heights, strict=True):
        _write(sheet, (_MARGIN, top), row.caption, _TEXT)
        for name, picture in cells.items():
            sheet.paste(picture, (lefts[name], top + line))
        top += height
    sheet.paste(legend, (_MARGIN, top))
    return sheet


def _draw_cells(row: SheetRow, categories: Sequence[Category], cell: int, limit: float) -> dict[str, Image.Image]:
    """Draw the pictures of one row, all of one size, by the name of their column."""
    image = torch.tensor(to_pixels(row.image)).permute(2, 0, 1)
    scale = cell / max(image.shape[-2:])
    size = (max(1, round(image.shape[-2] * scale)), max(1, round(image.shape[-1] * scale)))
    image = resize_image(image, size)
    cells = {"image": Image.fromarray(to_pixels(image))}
    for name, segments in (("truth", row.truth), ("prediction", row.prediction)):
        if segments is not None:
            enlarged = PanopticPrediction(resize_map(segments.panoptic_map, size), segments.segments)
            cells[name] = draw_overlay(image, enlarged, categories)
    if row.center_heatmap is not None:
        cells["center heatmap"] = _enlarge(color_heatmap(row.center_heatmap), size)
    if row.offset is not None:
        cells["offsets"] = _enlarge(color_offsets(row.offset, _find_things(row), limit=limit), size)
    return cells


def _enlarge(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Resize a colored map to a height and width without mixing its pixels."""
    return Image.fromarray(to_pixels(resize_map(torch.from_numpy(pixels).permute(2, 0, 1), size)))


def _find_things(row: SheetRow) -> NDArray[np.bool_] | None:
    """Return where offsets mean something, bool [height, width]; None if the row knows no segments."""
    segments = row.prediction or row.truth
    if segments is None:
        return None
    ids = [segment.id for segment in segments.segments if segment.is_thing]
    return np.isin(segments.panoptic_map.cpu().numpy(), ids)


def _measure_offsets(row: SheetRow) -> float:
    """Return a length that hardly any offset of a row exceeds, in pixels, at least 1."""
    if row.offset is None:
        return 1.0
    values = row.offset.detach().float().cpu().numpy() if isinstance(row.offset, Tensor) else row.offset
    things = _find_things(row)
    lengths = np.hypot(values[0], values[1])[... if things is None else things]
    return max(1.0, float(np.quantile(lengths, 0.98))) if lengths.size else 1.0


def _draw_legend(keys: Sequence[_Key], width: int) -> Image.Image:
    """Draw the keys side by side, in as many lines as the width asks for."""
    font = ImageFont.load_default(_TEXT)
    places: list[tuple[int, int, _Key]] = []
    left = top = height = 0
    for key in keys:
        advance = round(key.swatch.width + font.getlength(key.text)) + 3 * _TEXT
        if left > 0 and left + advance > width:
            left, top, height = 0, top + height, 0
        places.append((left, top, key))
        left, height = left + advance, max(height, key.swatch.height + _TEXT)
    legend = Image.new("RGB", (width, top + height), _PAPER)
    for left, top, key in places:
        row_height = max(other.swatch.height for _, other_top, other in places if other_top == top) + _TEXT
        legend.paste(key.swatch, (left, top + (row_height - key.swatch.height) // 2))
        _write(legend, (left + key.swatch.width + _TEXT // 2, top + row_height // 2), key.text, _TEXT, anchor="lm")
    return legend


def _list_keys(
    rows: Sequence[SheetRow], categories: Sequence[Category], columns: Sequence[str], limit: float
) -> list[_Key]:
    """List the keys to the colors: the classes that occur, the scale of the heatmap, the wheel of the offsets."""
    keys = [_Key(Image.new("RGB", (_TEXT, _TEXT), color), name) for name, color in _list_classes(rows, categories)]
    if "center heatmap" in columns:
        ramp = color_heatmap(np.linspace(0, 1, 6 * _TEXT)[None].repeat(_TEXT, axis=0))
        keys.append(_Key(Image.fromarray(ramp), "center heatmap, 0 to 1"))
    if "offsets" in columns:
        reach = np.linspace(-limit, limit, 65)
        wheel = np.stack(np.meshgrid(reach, reach, indexing="ij"))
        pixels = color_offsets(wheel, limit=limit)
        pixels[np.hypot(*wheel) > limit] = _PAPER
        text = f"offset to the center: the hue is the direction, full color {limit:.0f} px"
        keys.append(_Key(Image.fromarray(pixels), text))
    return keys


def _list_classes(rows: Sequence[SheetRow], categories: Sequence[Category]) -> list[tuple[str, Color]]:
    """List name and color of the classes that occur, in the order of their ids, and void if there is any."""
    shown = [segments for row in rows for segments in (row.truth, row.prediction) if segments is not None]
    ids = sorted({segment.category_id for segments in shown for segment in segments.segments})
    classes = [(categories[category_id].name, choose_color(category_id, categories)) for category_id in ids]
    if any(bool((segments.panoptic_map == VOID_ID).any()) for segments in shown):
        classes.append(("void (gray photograph)", VOID_COLOR))
    return classes


def _write(sheet: Image.Image, place: tuple[int, int], text: str, size: int, *, anchor: str = "la") -> None:
    """Write one line of text; the anchor is Pillow's: left, and the top ("la") or the middle ("lm") of the letters."""
    ImageDraw.Draw(sheet).text(place, text, fill=_INK, font=ImageFont.load_default(size), anchor=anchor)
