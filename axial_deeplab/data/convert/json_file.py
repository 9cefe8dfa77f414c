"""Read JSON and text files of other tools, and say in one line what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.errors import InputError

MAX_COORDINATE = 1e7
"""float: No image has coordinates beyond this, in pixels."""


def read_text(path: Path) -> str:
    """Read a text file, UTF-8 with or without a byte order mark.

    Raises:
        InputError: It is absent, cannot be read, or is no such text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except UnicodeDecodeError:
        raise InputError(f"{path} is no UTF-8 text: save it as UTF-8") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank, stripped.

    Raises:
        InputError: As `read_text`.
    """
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def list_visible(folder: Path, pattern: str) -> list[Path]:
    """Return the files that fit a pattern, sorted, without those that are hidden or in hidden folders."""
    found = sorted(path for path in folder.glob(pattern) if path.is_file())
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It is absent or no JSON.
    """
    try:
        return json.loads(read_text(path))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}): export it again") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: It is absent, no JSON, or no object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold an object, not a {type(content).__name__}")
    return content


def peek(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds, or an empty one if it holds none or cannot be read."""
    try:
        return read_object(path)
    except InputError:
        return {}


def take(entry: Any, key: str, kind: type | tuple[type, ...], where: str, *, default: Any = None) -> Any:
    """Return `entry[key]`, or `default` where it is missing or null.

    Raises:
        InputError: It is missing without a default, or of the wrong type.
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    value = default if value is None else value
    if value is None:
        raise InputError(f"{where}: the key '{key}' is missing: export it again")
    if not isinstance(value, kind):
        raise InputError(f"{where}: '{key}' cannot be {value!r:.40}: correct its type")
    return value


def parse_points(values: Any, where: str, *, at_least: int) -> NDArray[np.float64]:
    """Turn [x, y, x, y, ...] or [[x, y], ...] into points, float64 [point, 2].

    Raises:
        InputError: They are no finite numbers, or too few.
    """
    try:
        points = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{where}: the points must be pairs of numbers") from None
    if len(points) < at_least:
        raise InputError(f"{where}: has {len(points)} points, needs at least {at_least}: correct or remove it")
    if not (np.abs(points) < MAX_COORDINATE).all():
        raise InputError(f"{where}: a coordinate is not finite or absurdly large: correct it")
    return points
