"""CVAT "segmentation mask 1.1": a color a class and a color an object, in the folders of Pascal VOC."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.data.convert.classes import check_names
from axial_deeplab.data.convert.json_file import read_text
from axial_deeplab.data.convert.label_images import list_label_images, list_pictures, read_color_labels
from axial_deeplab.data.convert.record import (
    BACKGROUND,
    REST,
    SPLITS,
    IdMap,
    LabeledImage,
    Size,
    Source,
    check_size,
    take_split,
)
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

_IMAGE_FOLDERS = ("JPEGImages", "images")


def read(root: Path, classes: Sequence[str]) -> Source:
    """Find the annotated images; classes and their colors come from labelmap.txt.

    Raises:
        InputError: A folder or a file is missing, or the list of labels is malformed.
    """
    if classes:
        raise InputError("--classes does not go with cvat-masks: names and colors come from labelmap.txt")
    categories = _read_label_map(root / "labelmap.txt")
    folders = [root / "SegmentationClass", root / "SegmentationObject"]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is missing: export 'Segmentation mask 1.1' again")
    class_maps, object_maps = (list_label_images(folder) for folder in folders)
    pictures = _find_pictures(root)
    splits = _read_splits(root)
    images = []
    for key, class_map in class_maps.items():
        for name, files in (("SegmentationObject", object_maps), (_IMAGE_FOLDERS[0], pictures)):
            if key not in files:
                raise InputError(f"{class_map} has no partner {key}.* in {root / name}: restore it")
        split, file_name = take_split(Path(key).with_name(pictures[key].name))
        load = partial(_load, (class_map, object_maps[key], pictures[key]), categories)
        images.append(LabeledImage(pictures[key], file_name, load, splits.get(key, split)))
    return Source(categories, tuple(images))


def _read_label_map(path: Path) -> tuple[Category, ...]:
    """Read lines "name:red,green,blue:parts:actions"; one that starts with "#" is a comment."""
    categories: list[Category] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(value) for value in rest.split(":")[0].split(","))
        except ValueError:
            raise InputError(f"{path}, line {number}: must be 'name:red,green,blue:parts:actions'") from None
        if not all(0 <= value <= 255 for value in (red, green, blue)):
            raise InputError(f"{path}, line {number}: a color reaches from 0 to 255")
        name = name.strip()
        categories.append(Category(len(categories) + 1, name, name != BACKGROUND, (red, green, blue)))
    check_names(categories, path)
    if len({category.color for category in categories}) < len(categories):
        raise InputError(f"{path}: two classes have the same color: give each its own")
    return tuple(categories)


def _find_pictures(root: Path) -> dict[str, Path]:
    for name in _IMAGE_FOLDERS:
        if (root / name).is_dir():
            return list_pictures(root / name)
    raise InputError(f"{root / _IMAGE_FOLDERS[0]} is missing: export with 'Save images', or put the images there")


def _read_splits(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.glob("ImageSets/Segmentation/*.txt")) if path.stem.lower() in SPLITS]
    return {line.strip(): SPLITS[path.stem.lower()] for path in files for line in read_text(path).splitlines()}


def _load(paths: tuple[Path, Path, Path], categories: Sequence[Category], size: Size) -> IdMap:
    class_map, object_map, picture = paths
    classes, objects = (read_color_labels(path, str(path)) for path in (class_map, object_map))
    for path, values in ((class_map, classes), (object_map, objects)):
        check_size(path, values.shape, size, image=picture)
    return IdMap(_match_colors(classes, categories, class_map), objects)


def _match_colors(colors: NDArray[np.int64], categories: Sequence[Category], path: Path) -> NDArray[np.int64]:
    known = {0: REST}
    for position, category in enumerate(categories):
        red, green, blue = category.color or (0, 0, 0)
        known[red * 65536 + green * 256 + blue] = position
    found, inverse = np.unique(colors, return_inverse=True)
    for color in found.tolist():
        if color not in known:
            raise InputError(f"{path}: the color {(color >> 16, color >> 8 & 255, color & 255)} is not in labelmap.txt")
    return np.array([known[color] for color in found.tolist()])[inverse].reshape(colors.shape)
