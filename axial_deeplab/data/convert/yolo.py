"""YOLO segmentation: a line "class x y x y ..." a polygon, in shares of width and height."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from axial_deeplab.data.convert.classes import make_categories, read_classes
from axial_deeplab.data.convert.json_file import list_visible, parse_points, read_text
from axial_deeplab.data.convert.label_images import list_pictures
from axial_deeplab.data.convert.rasterize import fill_polygon
from axial_deeplab.data.convert.record import SPLITS, LabeledImage, Shape, Size, Source, take_split
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

_TOLERANCE = 0.01  # exporters round, and cut at the border badly


def find_folders(root: Path) -> list[tuple[Path, Path, str | None]]:
    """Return the pairs of folders images/ and labels/ with the split of each: in `root`, or in root/train and so on."""
    places = [(root, None), *((root / name, split) for name, split in SPLITS.items())]
    pairs = [(place / "images", place / "labels", split) for place, split in places]
    return [pair for pair in pairs if pair[0].is_dir() and pair[1].is_dir()]


def find_yaml(root: Path) -> Path | None:
    """Return data.yaml, or the only other YAML file of the folder."""
    files = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    named = [path for path in files if path.stem == "data"]
    return named[0] if named else files[0] if len(files) == 1 else None


def read(root: Path, classes: Sequence[str]) -> Source:
    """Find the images; one without a text file, or with an empty one, has no object.

    Raises:
        InputError: Folders or names are missing, or a text file has no image.
    """
    categories = read_classes(classes) if classes else _read_names(root)
    folders = find_folders(root)
    if not folders:
        raise InputError(f"{root} has no images/ beside labels/: looked in it and in {', '.join(SPLITS)}")
    images = []
    for image_folder, label_folder, outer_split in folders:
        pictures = list_pictures(image_folder)
        labels = {
            path.relative_to(label_folder).with_suffix("").as_posix() for path in list_visible(label_folder, "**/*.txt")
        }
        if lonely := sorted(labels - pictures.keys() - {"classes"}):
            raise InputError(f"{label_folder / lonely[0]}.txt has no image in {image_folder}: restore or remove it")
        for key, picture in pictures.items():
            split, file_name = take_split(picture.relative_to(image_folder))
            load = partial(_load, label_folder / f"{key}.txt", len(categories))
            images.append(LabeledImage(picture, file_name, load, outer_split or split))
    return Source(categories, tuple(images))


def _read_names(root: Path) -> tuple[Category, ...]:
    path = find_yaml(root)
    if path is None:
        raise InputError(f"{root / 'data.yaml'} does not exist: write it with 'names', or give --classes")
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML ({error}): correct it") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise InputError(f"{path}: 'names' must be a list of classes, or a table of 0, 1, ...")
    return make_categories([str(name) for name in names], path)


def _load(path: Path, num_classes: int, size: Size) -> tuple[Shape, ...]:
    if not path.exists():
        return ()
    lines = enumerate(read_text(path).splitlines(), start=1)
    return tuple(_parse_line(line, f"{path}, line {n}", num_classes, size) for n, line in lines if line.strip())


def _parse_line(line: str, where: str, num_classes: int, size: Size) -> Shape:
    first, *rest = line.split()
    if not first.isdecimal() or int(first) >= num_classes:
        raise InputError(f"{where}: the class {first!r} is unknown: there are 0 .. {num_classes - 1}")
    if len(rest) == 4:
        raise InputError(f"{where}: is a box, not a polygon: export for segmentation")
    points = parse_points(rest, where, at_least=3)
    if points.min() < -_TOLERANCE or points.max() > 1 + _TOLERANCE:
        raise InputError(f"{where}: coordinates are shares of width and height, from 0 to 1: divide them")
    return Shape(int(first), where, fill_polygon(points * np.array([size[1], size[0]], np.float64), size))
