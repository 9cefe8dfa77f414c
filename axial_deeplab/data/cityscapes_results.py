"""Semantic and instance predictions in the form of the Cityscapes benchmark.

Both name files after the image, `CITY_SEQUENCE_FRAME`. A semantic prediction is a gray PNG of the benchmark's labels. An
instance prediction is a text file of lines `mask.png label score` with a mask for each, not 0 inside.

Source: mcordts/cityscapesScripts, evaluation/evalPixelLevelSemanticLabeling.py and evalInstanceLevelSemanticLabeling.py.
"""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.convert.json_file import read_lines
from axial_deeplab.data.convert.label_images import read_label_image
from axial_deeplab.data.files import write_atomic, write_png
from axial_deeplab.errors import InputError
from axial_deeplab.panoptic.labels import to_instances
from axial_deeplab.records import IGNORE_LABEL, Category, PanopticPrediction, Segment

_TRUTH = "_gtFine_instanceIds.png"


def map_to_labels(categories: Sequence[Category]) -> tuple[Category, ...]:
    """Return the classes with the benchmark's labels as ids, found by name.

    Raises:
        InputError: These are not the classes of Cityscapes.
    """
    official = {(category.name, category.is_thing): category for category in load_catalog("cityscapes")}
    own = [(category.name, category.is_thing) for category in categories]
    if differing := sorted({*official} ^ {*own}):
        raise InputError(f"the classes are not those of Cityscapes: they differ in '{differing[0][0]}'")
    return tuple(official[pair] for pair in own)


def name_image(file_name: str) -> str:
    """Return `CITY_SEQUENCE_FRAME` of an image of Cityscapes.

    Raises:
        InputError: The name has no such parts.
    """
    parts = Path(file_name).stem.split("_")
    if len(parts) < 3 or not all(part.isdigit() for part in parts[1:3]):
        raise InputError(f"{file_name} is not named CITY_SEQUENCE_FRAME..., such as bonn_000003_000019_leftImg8bit.png")
    return "_".join(parts[:3])


def find_truth(root: Path) -> dict[str, Path]:
    """Return the files `*_gtFine_instanceIds.png` below a folder by the name of their image, sorted.

    Raises:
        InputError: There is none.
    """
    paths = {name_image(path.name): path for path in sorted(root.rglob(f"*{_TRUTH}"))}
    if not paths:
        raise InputError(f"{root} holds no *{_TRUTH}: give a folder of gtFine, such as gtFine/val")
    return paths


def find_predictions(root: Path, names: Sequence[str], suffix: str) -> list[Path]:
    """Return the file below a folder that begins with each name and ends in `suffix`.

    Raises:
        InputError: An image has none or several.
    """
    found: dict[str, list[Path]] = {}
    for folder, _, files in os.walk(root):
        for file in sorted(files):
            name = "_".join(Path(file).stem.split("_")[:3])
            if file.endswith(suffix):
                found.setdefault(name, []).append(Path(folder) / file)
    for name in names:
        if len(found.get(name, [])) != 1:
            number = len(found.get(name, [])) or "no"
            raise InputError(f"{root} has {number} files {name}*{suffix}: give one prediction an image")
    return [found[name][0] for name in names]


def read_semantic_result(path: Path, categories: Sequence[Category]) -> np.ndarray:
    """Read a label PNG as classes, uint8 [height, width], contiguous; `IGNORE_LABEL` for labels that are not scored.

    Args:
        path: The PNG.
        categories: The classes, with the labels as ids.

    Raises:
        InputError: The file cannot be used.
    """
    labels = read_label_image(path, str(path))
    table = np.full(max(int(labels.max()), *(category.id for category in categories)) + 1, IGNORE_LABEL, np.uint8)
    table[[category.id for category in categories]] = range(len(categories))
    return table.take(labels)


def read_instance_result(
    path: Path, categories: Sequence[Category], size: tuple[int, ...]
) -> Iterator[tuple[Segment, np.ndarray]]:
    """Read the instances of one text file, each with its mask, bool [height, width], one by one.

    Lines of labels that are not scored are passed over, as the benchmark does.

    Raises:
        InputError: A line or a mask cannot be used.
    """
    position = {category.id: number for number, category in enumerate(categories)}
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}, line {number}"
        try:
            name, label, score = line.rsplit(maxsplit=2)
            category_id, confidence = position.get(int(float(label))), float(score)
        except (ValueError, OverflowError):
            raise InputError(f"{where} must be 'mask.png label score', not '{line:.60}'") from None
        if not math.isfinite(confidence):
            raise InputError(f"{where}: the score is {confidence}: instances are ranked by their scores")
        if Path(name).is_absolute():
            raise InputError(f"{where}: {name} must be relative to the folder of the text file")
        if category_id is not None:
            mask = read_label_image(path.parent / name, f"{path.parent / name} ({where})") != 0
            if mask.shape != size:
                raise InputError(
                    f"{path.parent / name} has {mask.shape} pixels, the truth {size}: keep the image's size"
                )
            yield Segment(number, category_id, categories[category_id].is_thing, confidence), mask


class CityscapesInstanceWriter:
    """Write `CITY_SEQUENCE_FRAME_pred.txt`, and its masks in the folder `masks` beside it."""

    def __init__(self, folder: Path | str, categories: Sequence[Category]) -> None:
        """Prepare to write; the position of a class in `categories` is its contiguous id.

        Raises:
            InputError: These are not the classes of Cityscapes.
        """
        self.folder = Path(folder)
        self._labels = [category.id for category in map_to_labels(categories)]

    def add(self, image_id: int | str, file_name: str, prediction: PanopticPrediction) -> None:
        """Write one image; `image_id` is its `CITY_SEQUENCE_FRAME`.

        Raises:
            InputError: A file cannot be written.
        """
        lines = []
        for number, (segment, mask) in enumerate(to_instances(prediction)):
            name = f"masks/{image_id}_{number}.png"
            write_png(self.folder / name, mask.cpu().numpy().astype(np.uint8) * 255)
            lines.append(f"{name} {self._labels[segment.category_id]} {segment.score!r}\n")
        write_atomic(self.folder / f"{image_id}_pred.txt", lambda file: file.write("".join(lines).encode()))
