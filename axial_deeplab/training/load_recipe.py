"""A recipe by its name or from a file, with fields changed; needs no command line parser."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from axial_deeplab.errors import InputError
from axial_deeplab.serialization import suggest, to_plain
from axial_deeplab.training.kinds import AnyRecipe, build_recipe
from axial_deeplab.training.recipes import RECIPES


def load_recipe(source: str, overrides: Sequence[str] = ()) -> AnyRecipe:
    """Return a recipe by name, or from a YAML or JSON file, with overrides like `data.root=PATH` or `optimizer.lr=1e-4`.

    Raises:
        InputError: If the name, a field or a value is wrong; the message offers the nearest name.
    """
    if source in RECIPES:
        values = to_plain(RECIPES[source]())
    elif Path(source).suffix in (".yaml", ".yml", ".json"):
        values = _read_yaml(Path(source))
    else:
        raise InputError(f"there is no recipe {source!r}{suggest(source, list(RECIPES))}")
    for override in overrides:
        _set_field(values, override)
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("version"), float):  # 1.2 is a number to YAML
        data["version"] = str(data["version"])
    return build_recipe(values, where=source)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not a recipe in YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a recipe: it must be a table of fields such as 'iterations: 1000'")
    return values


def _set_field(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"{override!r} is not of the form field=value, such as optimizer.lr=1e-4")
    *tables, name = dotted.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise InputError(f"{override!r}: {table!r} has no fields")
    try:
        values[name] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"{override!r}: the value {text!r} cannot be read as YAML") from None
