"""Class lists, and the one border between a dataset's own category ids and the contiguous ids of the program.

The position of a class in its list is its contiguous id. The tables of COCO panoptic (133 classes, in the order of the
official list) and of Cityscapes (19 classes, in the order of the train ids, with the ids of the benchmark) come with the
package as JSON, in the form that the `categories` of a COCO panoptic file have.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

CATALOGS = ("coco", "cityscapes")


def load_catalog(name: str) -> tuple[Category, ...]:
    """Return the classes of a well-known dataset, "coco" or "cityscapes".

    Raises:
        InputError: There is no table of that name.
    """
    if name not in CATALOGS:
        raise InputError(f"no class table is called '{name}': choose one of {', '.join(CATALOGS)}")
    path = Path(__file__).with_name(f"{name}.json")
    return parse_categories(json.loads(path.read_text(encoding="utf-8")), path)


def parse_categories(entries: object, file: Path | str) -> tuple[Category, ...]:
    """Turn the `categories` of a COCO panoptic file into records, in the order of the file.

    Args:
        entries: A list of objects with `id`, `name`, `isthing`, and perhaps `color` (RGB, 0..255); other keys are ignored.
        file: Where they come from, for the messages.

    Raises:
        InputError: The list is empty or no list, an entry lacks a key or has an unusable one, or an id repeats.
    """
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{file}: 'categories' must be a list of at least one class")
    categories = tuple(_parse_category(entry, f"{file}: class {number}") for number, entry in enumerate(entries))
    try:
        CategoryMap(categories)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    return categories


class CategoryMap:
    """Translate between the ids of a dataset and contiguous ids.

    Attributes:
        categories: The classes, by contiguous id.
        is_thing: Whether each class is a thing, by contiguous id.
        names: The names, by contiguous id.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        """Index `categories`.

        Raises:
            InputError: Two classes share an id.
        """
        self.categories = tuple(categories)
        self.is_thing = tuple(category.is_thing for category in self.categories)
        self.names = tuple(category.name for category in self.categories)
        self._contiguous: dict[int, int] = {}
        for position, category in enumerate(self.categories):
            if self._contiguous.setdefault(category.id, position) != position:
                raise InputError(f"the category id {category.id} repeats: give each class its own id")

    def __len__(self) -> int:
        """Return the number of classes."""
        return len(self.categories)

    def to_contiguous(self, dataset_id: int) -> int:
        """Return the position of the class that the dataset calls `dataset_id`.

        Raises:
            InputError: The list has no such class.
        """
        try:
            return self._contiguous[dataset_id]
        except (KeyError, TypeError):
            raise InputError(f"the category id {dataset_id!r} is not in the class list: add or correct it") from None

    def to_dataset(self, contiguous: int) -> int:
        """Return the dataset's id of the class at position `contiguous`.

        Raises:
            InputError: There are fewer classes.
        """
        if not 0 <= contiguous < len(self.categories):
            raise InputError(f"class {contiguous} is not one of 0 .. {len(self.categories) - 1}")
        return self.categories[contiguous].id


def _parse_category(entry: object, where: str) -> Category:
    if not isinstance(entry, dict):
        raise InputError(f"{where} must be an object with id, name and isthing")
    for key, kind in (("id", int), ("name", str), ("isthing", int)):
        if not isinstance(entry.get(key), kind):
            raise InputError(f"{where} must have the key '{key}', of type {kind.__name__}")
    return Category(entry["id"], entry["name"], bool(entry["isthing"]), _parse_color(entry.get("color"), where))


def _parse_color(value: object, where: str) -> tuple[int, int, int] | None:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 3 and all(isinstance(c, int) and 0 <= c <= 255 for c in value):
        return value[0], value[1], value[2]
    raise InputError(f"{where}: 'color' must be three integers from 0 to 255")
