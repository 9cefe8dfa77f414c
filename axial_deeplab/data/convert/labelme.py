"""labelme: one JSON beside each image, with polygons, rectangles, circles and masks."""

import base64
import binascii
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from axial_deeplab.data.convert.classes import make_categories, read_classes
from axial_deeplab.data.convert.json_file import (
    list_visible,
    parse_points,
    peek,
    read_json,
    read_lines,
    read_object,
    take,
)
from axial_deeplab.data.convert.label_images import read_label_image
from axial_deeplab.data.convert.rasterize import fill_circle, fill_polygon, place_mask
from axial_deeplab.data.convert.record import (
    BACKGROUND,
    IGNORE,
    LabeledImage,
    Patch,
    Shape,
    Size,
    Source,
    check_size,
    take_split,
)
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

_IGNORE_NAME, _BACKGROUND_NAME = "__ignore__", "_background_"
_POLYGONS = ("polygon", "oriented_rectangle", "rotated_rectangle", "rotation")
_POINTS = dict.fromkeys(_POLYGONS, 3) | {"rectangle": 2, "circle": 2, "mask": 2}


class _File(NamedTuple):
    """What is kept of a JSON until its turn comes: pictures in them are large."""

    path: Path
    image_path: str
    labels: frozenset[str]


def is_labelme(path: Path) -> bool:
    """Tell whether labelme wrote a JSON file."""
    return {"shapes", "imagePath"} <= peek(path).keys()


def read(root: Path, classes: Sequence[str]) -> Source:
    """Find the annotated images; labels are `classes`, else those of labels.txt, else those found, sorted by name.

    Raises:
        InputError: There is none, a file is malformed, or a label is not in a list that was given.
    """
    files = [file for path in list_visible(root, "**/*.json") if (file := _scan(path)) is not None]
    if not files:
        raise InputError(f"{root} has no labelme file: looked for *.json with 'shapes' and 'imagePath'")
    categories = read_classes(classes) if classes else _read_categories(root, files)
    positions = {category.name: position for position, category in enumerate(categories)}
    return Source(categories, tuple(_describe(file, root, positions) for file in files))


def _scan(path: Path) -> _File | None:
    """Return what matters of a file, or None if labelme did not write it."""
    content = read_json(path)
    if not isinstance(content, dict) or not {"shapes", "imagePath"} <= content.keys():
        return None
    shapes = enumerate(take(content, "shapes", list, str(path)))
    labels = frozenset(take(shape, "label", str, f"{path}, shape {number}") for number, shape in shapes)
    return _File(path, take(content, "imagePath", str, str(path)).replace("\\", "/"), labels)


def _read_categories(root: Path, files: Sequence[_File]) -> tuple[Category, ...]:
    listed = root / "labels.txt"
    labels = read_lines(listed) if listed.is_file() else sorted(set().union(*(file.labels for file in files)))
    names = [_rename(label) for label in labels if label != _IGNORE_NAME]
    return make_categories(names, listed if listed.is_file() else root)


def _rename(label: str) -> str:
    return BACKGROUND if label == _BACKGROUND_NAME else label


def _describe(file: _File, root: Path, positions: dict[str, int]) -> LabeledImage:
    path = file.path
    picture = path.parent / file.image_path
    image = picture if picture.is_file() else partial(_read_embedded, path, file.image_path)
    split, file_name = take_split(path.relative_to(root).with_name(Path(file.image_path).name))
    return LabeledImage(image, file_name, partial(_load, path, picture, positions), split)


def _read_embedded(path: Path, image_path: str) -> bytes:
    """Return the picture that the JSON holds in place of a missing file."""
    missing = f"{path} (its image '{image_path}' does not exist)"
    return _decode(take(read_object(path), "imageData", str, missing), str(path))


def _decode(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"{where}: the base64 text of an image is damaged: export it again") from None


def _load(path: Path, picture: Path, positions: dict[str, int], size: Size) -> tuple[Shape, ...]:
    content = read_object(path)
    sides = zip(("imageHeight", "imageWidth"), size, strict=True)
    check_size(path, [take(content, key, int, str(path), default=side) for key, side in sides], size, image=picture)
    return tuple(
        _parse_shape(entry, number, positions, f"{path}, shape {number}", size)
        for number, entry in enumerate(take(content, "shapes", list, str(path)))
    )


def _parse_shape(entry: Any, number: int, positions: dict[str, int], where: str, size: Size) -> Shape:
    label = take(entry, "label", str, where)
    category = IGNORE if label == _IGNORE_NAME else positions.get(_rename(label))
    if category is None:
        raise InputError(f"{where}: the label {label!r} is unknown: add it to the class list or correct it")
    group = take(entry, "group_id", (int, str), where, default="")
    object_id = (number, None) if group == "" else (None, group)
    return Shape(category, object_id, _fill(entry, where, size))


def _fill(entry: Any, where: str, size: Size) -> Patch:
    kind = take(entry, "shape_type", str, where, default="polygon")
    if kind not in _POINTS:
        raise InputError(f"{where}: a {kind} has no area: remove it or draw it as one of {', '.join(_POINTS)}")
    points = parse_points(take(entry, "points", list, where), where, at_least=_POINTS[kind])
    if kind == "circle":
        return fill_circle(points[0].tolist(), float(np.hypot(*(points[1] - points[0]))), size)
    if kind == "mask":
        data = _decode(take(entry, "mask", str, where), where)
        mask = read_label_image(data, where) > 0
        left, top = (round(value) for value in points.min(0).tolist())
        right, bottom = (round(value) for value in points.max(0).tolist())
        check_size(where, mask.shape, (bottom - top + 1, right - left + 1), image="its box")
        return place_mask(mask, top, left, size)
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(0), points.max(0)
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return fill_polygon(points, size)
