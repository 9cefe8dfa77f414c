"""The source formats by name, and how each is recognized."""

from collections.abc import Callable, Sequence
from pathlib import Path

from axial_deeplab.data.convert import coco_instances, cvat_masks, label_maps, labelme, yolo
from axial_deeplab.data.convert.json_file import list_visible
from axial_deeplab.data.convert.record import Source
from axial_deeplab.errors import InputError

FORMATS: dict[str, Callable[[Path, Sequence[str]], Source]] = {
    "labelme": labelme.read,
    "cvat-masks": cvat_masks.read,
    "coco": coco_instances.read,
    "yolo": yolo.read,
    "instance-maps": label_maps.read_instances,
    "semantic": label_maps.read_semantic,
}
"""dict: The function that reads each format: `read(root, classes)`."""


def detect_format(root: Path) -> str:
    """Return the name of the format of a folder.

    Raises:
        InputError: It looks like none, or like several.
    """
    found = [name for name, looks_like in _SIGNS.items() if looks_like(root)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{root} looks like {' and '.join(found)}: say which with --format")
    if any(root.glob("annotations/panoptic_*.json")):
        raise InputError(f"{root} has annotations/panoptic_*.json: it is in COCO-panoptic format already")
    raise InputError(f"{root} is in no known format: look up the layouts in docs/datasets.md, or give --format")


def _has_labelme(root: Path) -> bool:
    return any(labelme.is_labelme(path) for path in list_visible(root, "**/*.json"))


def _has_cvat_masks(root: Path) -> bool:
    return (root / "labelmap.txt").is_file() or (root / "SegmentationObject").is_dir()


def _has_yolo(root: Path) -> bool:
    return any(any(labels.rglob("*.txt")) for _, labels, _ in yolo.find_folders(root))


def _has_semantic(root: Path) -> bool:
    return bool(label_maps.list_places(root, label_maps.SEMANTIC_FOLDER))


def _has_instance_maps(root: Path) -> bool:
    return not _has_semantic(root) and not _has_cvat_masks(root) and label_maps.has_instances(root)


_SIGNS: dict[str, Callable[[Path], bool]] = {
    "labelme": _has_labelme,
    "cvat-masks": _has_cvat_masks,
    "coco": lambda root: bool(coco_instances.find_files(root)),
    "yolo": _has_yolo,
    "instance-maps": _has_instance_maps,
    "semantic": _has_semantic,
}
