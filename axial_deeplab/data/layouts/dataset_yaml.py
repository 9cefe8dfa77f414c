"""Read `dataset.yaml`, which says what the classes of a converted set are called, which are things, and their colors."""

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from axial_deeplab.data.catalog import parse_categories
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

FILE_NAME = "dataset.yaml"
_KEYS = {"names": True, "ids": True, "isthing": True, "colors": False, "splits": False}


class DatasetDescription(NamedTuple):
    """What the file says; `splits` is empty where it names none."""

    path: Path
    categories: tuple[Category, ...]
    splits: tuple[str, ...]


def read_dataset_yaml(path: Path) -> DatasetDescription:
    """Read and check the description of a set.

    Raises:
        InputError: The file cannot be read, a list is missing or of another length, or a class is not usable.
    """
    content = _load(path)
    lists = {key: _take_list(content, key, path) for key, needed in _KEYS.items() if needed or content.get(key)}
    splits = [str(name) for name in lists.pop("splits", [])]
    lengths = {key: len(values) for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise InputError(f"{path}: the lists differ in length ({counts}): give each class one entry in each")
    keys = {"names": "name", "ids": "id", "isthing": "isthing", "colors": "color"}
    rows = zip(*lists.values(), strict=True)
    entries = [{keys[key]: value for key, value in zip(lists, row, strict=True) if value != []} for row in rows]
    return DatasetDescription(path, parse_categories(entries, path), tuple(splits))


def check_description(description: DatasetDescription, own: tuple[Category, ...], file: Path) -> None:
    """Raise InputError unless a file lists the classes of the description, with the same ids and kinds.

    Names and colors may differ: those of the description count.
    """
    kinds, listed = (
        {category.id: category.is_thing for category in classes} for classes in (own, description.categories)
    )
    for number in sorted(kinds.keys() | listed.keys()):
        if kinds.get(number) != listed.get(number):
            raise InputError(
                f"{file} and {description.path} differ in the category {number}: list the same ids with the same isthing"
            )


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML ({' '.join(str(error).split())}): correct it") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold the lists {', '.join(_KEYS)}, not a {type(content).__name__}")
    return content


def _take_list(content: dict[str, Any], key: str, path: Path) -> list[Any]:
    values = content.get(key)
    if not isinstance(values, list) or not values:
        raise InputError(f"{path}: '{key}' must be a list with an entry for each class")
    return values
