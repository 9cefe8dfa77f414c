"""COCO instances: one JSON a split, with polygons or run lengths; CVAT, Roboflow and others export it too."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from axial_deeplab.data.convert.classes import check_names
from axial_deeplab.data.convert.json_file import list_visible, parse_points, peek, read_object, take
from axial_deeplab.data.convert.rasterize import fill_polygon, place_mask
from axial_deeplab.data.convert.record import BACKGROUND, SPLITS, LabeledImage, Patch, Shape, Size, Source, check_size
from axial_deeplab.data.run_lengths import decode_runs, parse_compressed_runs
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

_PATTERNS = ("annotations/*.json", "*.json", "*/_annotations.coco.json")
_NEEDED = ("images", "annotations", "categories")


def find_files(root: Path) -> dict[Path, dict[str, Any]]:
    """Return the JSON files of instances with their content; those called "instances_..." alone if there are any."""
    paths = [path for pattern in _PATTERNS for path in list_visible(root, pattern)]
    found = {path: content for path in paths if _is_instances(content := _read(path))}
    return {path: content for path, content in found.items() if path.name.startswith("instances_")} or found


def _read(path: Path) -> dict[str, Any]:
    """Read a file; one with the name of an instance file must be sound, others may be anything."""
    return read_object(path) if path.name.startswith(("instances_", "_annotations")) else peek(path)


def _is_instances(content: dict[str, Any]) -> bool:
    if not all(isinstance(content.get(key), list) for key in _NEEDED):
        return False
    return not any(isinstance(entry, dict) and "segments_info" in entry for entry in content["annotations"][:1])


def read(root: Path, classes: Sequence[str]) -> Source:
    """Find the images of all files, which must have the same classes.

    Raises:
        InputError: There is no file, one is malformed, or ids are unknown or repeat.
    """
    if classes:
        raise InputError("--classes does not go with coco: the classes are in the JSON")
    contents = find_files(root)
    paths = list(contents)
    if not paths:
        raise InputError(f"{root} has no COCO instances: looked for {', '.join(_PATTERNS)} with {', '.join(_NEEDED)}")
    names = [_get_split(path) for path in paths]
    if len(set(names)) < len(paths):
        listed = ", ".join(path.name for path in paths[:4])
        raise InputError(f"{root}: cannot tell the splits of {listed} apart: call them instances_train.json and so on")
    categories = {path: _parse_categories(content, path) for path, content in contents.items()}
    for path in paths:
        if categories[path] != categories[paths[0]]:
            raise InputError(f"{path}: 'categories' differs from that of {paths[0]}: use the same list")
    images = [image for path, content in contents.items() for image in _parse(content, path, root)]
    return Source(categories[paths[0]], tuple(images))


def _get_split(path: Path) -> str | None:
    """Return the split that the name of the file, or of its folder, says: "instances_val2017.json" is "val"."""
    name = path.parent.name if path.name.startswith("_annotations") else path.stem.removeprefix("instances_")
    return SPLITS.get(re.sub(r"\d{4}$", "", name).lower())


def _parse_categories(content: dict[str, Any], path: Path) -> tuple[Category, ...]:
    categories = []
    for number, entry in enumerate(content["categories"]):
        where = f"{path}, category {number}"
        name = take(entry, "name", str, where)
        is_thing = bool(take(entry, "isthing", int, where, default=int(name != BACKGROUND)))
        categories.append(Category(take(entry, "id", int, where), name, is_thing))
    check_names(categories, path)
    _check_unique([category.id for category in categories], "categories", path)
    return tuple(categories)


def _check_unique(ids: Sequence[int | str], kind: str, path: Path) -> None:
    seen: set[int | str] = set()
    for number in ids:
        if number in seen:
            raise InputError(f"{path}: two {kind} have the id {number!r}: keep one of them")
        seen.add(number)


def _parse(content: dict[str, Any], path: Path, root: Path) -> list[LabeledImage]:
    shapes = _group_annotations(content, path)
    ids = [take(entry, "id", (int, str), f"{path}, image {n}") for n, entry in enumerate(content["images"])]
    _check_unique(ids, "images", path)
    if unknown := [image_id for image_id in shapes if image_id not in set(ids)]:
        raise InputError(f"{path}: annotations belong to image {unknown[0]!r}, which is not listed: add or drop it")
    positions = {entry["id"]: position for position, entry in enumerate(content["categories"])}
    images = []
    for image_id, entry in zip(ids, content["images"], strict=True):
        name = take(entry, "file_name", str, f"{path}, image {image_id!r}").replace("\\", "/")
        picture = _find_picture(name, path, root)
        sides = tuple(take(entry, key, int, f"{path}, image {image_id!r}", default=0) for key in ("height", "width"))
        load = partial(_load, (path, picture), shapes.get(image_id, []), positions, sides)
        images.append(LabeledImage(picture, name, load, _get_split(path), image_id))
    return images


def _group_annotations(content: dict[str, Any], path: Path) -> dict[int | str, list[Any]]:
    groups: dict[int | str, list[Any]] = {}
    ids = []
    for number, entry in enumerate(content["annotations"]):
        where = f"{path}, annotation {number}"
        ids.append(take(entry, "id", (int, str), where, default=f"number {number}"))
        groups.setdefault(take(entry, "image_id", (int, str), where), []).append(entry | {"id": ids[-1]})
    _check_unique(ids, "annotations", path)
    return groups


def _find_picture(name: str, path: Path, root: Path) -> Path:
    split = path.stem.removeprefix("instances_")
    folders = (root / "images" / split, root / split, root / "images", root, root / "data", path.parent)
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    listed = ", ".join(str(folder) for folder in folders[:4])
    raise InputError(f"{path} names {name}, which does not exist: looked for it in {listed}")


def _load(
    paths: tuple[Path, Path], entries: Sequence[Any], positions: dict[int, int], sides: Sequence[int], size: Size
) -> tuple[Shape, ...]:
    path, picture = paths
    if any(sides):
        check_size(path, sides, size, image=picture)
    shapes = []
    for entry in entries:
        where = f"{path}, annotation {entry['id']!r}"
        category_id = take(entry, "category_id", int, where)
        if category_id not in positions:
            raise InputError(f"{where}: the category id {category_id} is unknown: add it to 'categories' or correct it")
        is_crowd = bool(take(entry, "iscrowd", int, where, default=0))
        patch = _fill(entry.get("segmentation"), where, size)
        shapes.append(Shape(positions[category_id], entry["id"], patch, is_crowd))
    return tuple(shapes)


def _fill(value: Any, where: str, size: Size) -> Patch:
    """Fill the polygons or runs of one annotation."""
    if isinstance(value, dict):
        return _fill_runs(value, where, size)
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: has no 'segmentation', only a box perhaps: export masks or polygons")
    patches = [fill_polygon(parse_points(ring, where, at_least=3), size) for ring in value]
    if len(patches) == 1:
        return patches[0]
    mask = np.zeros(size, bool)
    for top, left, part in patches:
        mask[top : top + part.shape[0], left : left + part.shape[1]] |= part
    return Patch(0, 0, mask)


def _fill_runs(value: dict[str, Any], where: str, size: Size) -> Patch:
    check_size(where, take(value, "size", list, where), size, image="its image")
    counts = take(value, "counts", (list, str), where)
    try:
        mask = decode_runs(parse_compressed_runs(counts) if isinstance(counts, str) else counts, size)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: {error}: export it again") from None
    return place_mask(mask, 0, 0, size)
