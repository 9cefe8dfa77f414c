"""Classes of a classified set: one a folder, numbered in the order of the names, perhaps with readable names."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

NAMES_FILE = "classes.json"
SYNSETS_FILE = "LOC_synset_mapping.txt"


def make_categories(folders: Sequence[str], names: Mapping[str, str]) -> tuple[Category, ...]:
    """Number the classes; a folder without a readable name keeps its own."""
    return tuple(Category(i, names.get(folder, folder), is_thing=False) for i, folder in enumerate(folders))


def read_class_names(root: Path) -> dict[str, str]:
    """Return readable names by folder, from `classes.json` ({folder: name}) or ImageNet's list; empty if there is neither.

    Raises:
        InputError: A list is malformed.
    """
    path = root / NAMES_FILE
    if path.is_file():
        try:
            names = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{path} is no JSON ({error})") from error
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise InputError(f'{path} must map folders to names, such as {{"n01440764": "tench"}}')
        return names
    path = root / SYNSETS_FILE
    if not path.is_file():
        return {}
    rows = [line.partition(" ") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {folder: name.strip() or folder for folder, _, name in rows}


def check_same_classes(root: Path, splits: tuple[str, str], folders: tuple[Sequence[str], Sequence[str]]) -> None:
    """Check that two splits have the same classes.

    Raises:
        InputError: They differ; names some of the classes that one lacks.
    """
    first, second = (set(names) for names in folders)
    parts = [
        f"only {split} has {_list_some(sorted(extra))}"
        for split, extra in zip(splits, (first - second, second - first), strict=True)
        if extra
    ]
    if parts:
        raise InputError(f"{root}: {splits[0]} and {splits[1]} differ in classes: {'; '.join(parts)}")


def _list_some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
