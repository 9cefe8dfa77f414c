"""The classes of an imported network: weights hold their number, and nothing of what they mean."""

import json
from pathlib import Path
from typing import NamedTuple

from axial_deeplab.data.catalog import CATALOGS, load_catalog, parse_categories
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category


class ClassList(NamedTuple):
    """Classes in the order of the outputs, and where they come from."""

    categories: tuple[Category, ...]
    void_class: int | None  # output that means "nothing recognised"
    source: str  # name of a well-known list, or path of a file


def choose_segment_classes(choice: str | None, num_outputs: int) -> ClassList:
    """Return the classes of a panoptic network.

    A network with one output more than the list has classes keeps the first for void, as deeplab2's for COCO do.

    Args:
        choice: "coco", "cityscapes", a JSON file, or `None` for what the number of outputs suggests.
        num_outputs: Channels of the semantic head.

    Raises:
        InputError: If the list has another number of classes, cannot be read, or nothing is suggested.
    """
    if choice is None:
        choice = {19: "cityscapes", 133: "coco", 134: "coco"}.get(num_outputs)
    if choice is None:
        raise InputError(f"the network has {num_outputs} classes and cannot name them: add --classes FILE.json")
    categories = load_classes(choice)
    if num_outputs == len(categories):
        return ClassList(categories, None, choice)
    if num_outputs == len(categories) + 1:
        ids = [category.id for category in categories]
        void = Category(0 if 0 not in ids else max(ids) + 1, "void", False)
        return ClassList((void, *categories), 0, choice)
    raise InputError(f"the network has {num_outputs} classes, and the list {choice} has {len(categories)}")


def load_classes(choice: str) -> tuple[Category, ...]:
    """Return a well-known class list, or that of a JSON file.

    Raises:
        InputError: If the file cannot be read.
    """
    return load_catalog(choice) if choice in CATALOGS else _read_categories(Path(choice))


def choose_image_classes(choice: str | None, num_outputs: int) -> ClassList:
    """Return the classes of a classifier; without a choice they are called by their numbers.

    Args:
        choice: A text file with one name a line, or a JSON file as for segmentation.
        num_outputs: Outputs of the last layer.

    Raises:
        InputError: If the list has another number of classes, or cannot be read.
    """
    if choice is None:
        names = [str(number) for number in range(num_outputs)]
    elif choice in CATALOGS or choice.endswith(".json"):
        names = [category.name for category in load_classes(choice)]
    else:
        names = [line.strip() for line in _read_text(Path(choice)).splitlines() if line.strip()]
    if len(names) != num_outputs:
        raise InputError(f"the network has {num_outputs} classes, and the list {choice} has {len(names)}")
    categories = tuple(Category(number, name, False) for number, name in enumerate(names))
    return ClassList(categories, None, choice or "numbers")


def _read_categories(path: Path) -> tuple[Category, ...]:
    """Read a JSON list of `id`, `name`, `isthing`, or a COCO panoptic file with such a list under `categories`."""
    try:
        values = json.loads(_read_text(path))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}): expected a list of id, name and isthing") from None
    return parse_categories(values.get("categories") if isinstance(values, dict) else values, path)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        known = ", ".join(CATALOGS)
        raise InputError(f"{path} cannot be read ({error.strerror}): --classes takes {known} or a file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text in UTF-8: expected a list of classes") from None
