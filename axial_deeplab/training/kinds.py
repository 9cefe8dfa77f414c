"""The kinds of recipes, told apart by their field `task`."""

from typing import Any

from axial_deeplab.errors import InputError
from axial_deeplab.serialization import from_plain, suggest
from axial_deeplab.training.class_config import ClassificationRecipe
from axial_deeplab.training.config import Recipe

AnyRecipe = Recipe | ClassificationRecipe

KINDS: dict[str, type[Recipe] | type[ClassificationRecipe]] = {
    "panoptic": Recipe,
    "classification": ClassificationRecipe,
}
"""dict: By the value of `task`."""


def build_recipe(values: Any, *, where: str) -> AnyRecipe:
    """Build a recipe from what `to_plain` made of it, or a part of that; without `task` it is a panoptic one.

    Raises:
        InputError: If a field does not belong to a recipe of that task, or a value is wrong; the message names `where`.
    """
    task = values.get("task", "panoptic") if isinstance(values, dict) else "panoptic"
    if task not in KINDS:
        raise InputError(f"{where}: there is no task {task!r}{suggest(str(task), list(KINDS))}")
    return from_plain(KINDS[task], values, where=where if task == "panoptic" else f"{where} (a recipe of {task})")
