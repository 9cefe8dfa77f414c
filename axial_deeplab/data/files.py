"""Write files whole or not at all: a reader never sees half a file, whenever the writer dies."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from axial_deeplab.errors import InputError


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, then put it in the place of `path` in one step.

    Missing folders are made. Whatever goes wrong, the temporary file is removed and an older file stays as it was.

    Args:
        path: The file to write or to replace.
        write: Gets the open binary file.

    Raises:
        InputError: The system refuses (disk full, no permission, a folder in the way); names the file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not `tempfile`: its files are private to the user, and the result would inherit that.
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path} cannot be written ({reason}): free some space or choose another output") from error
    finally:
        _remove(temporary)


def write_json(path: Path, value: object, *, indent: int | None = None) -> None:
    """Write `value` as JSON, UTF-8, on one line unless `indent` is given.

    Raises:
        InputError: The file cannot be written.
        ValueError: `value` holds NaN or infinity, which JSON does not know.
    """
    text = to_json_text(value, indent=indent)
    write_atomic(path, lambda file: file.write(f"{text}\n".encode()))


def to_json_text(value: object, *, indent: int | None = None) -> str:
    """Return `value` as JSON, on one line unless `indent` is given.

    Raises:
        ValueError: `value` holds NaN or infinity, which JSON does not know.
    """
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)


def join_json(texts: Iterable[str]) -> str:
    """Return the JSON list of values that are JSON already."""
    return f"[{', '.join(texts)}]"


def write_png(path: Path, image: Image.Image | np.ndarray) -> None:
    """Write an image, or an array that `Image.fromarray` takes (uint8 [height, width] or [height, width, 3]), as PNG.

    Raises:
        InputError: The file cannot be written.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    write_atomic(path, lambda file: picture.save(file, format="PNG"))


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such links.

    Raises:
        InputError: `target` cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        copy_file(source, target)


def copy_file(source: Path, target: Path) -> None:
    """Copy the content of a file.

    Raises:
        InputError: `target` cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error.strerror}): free some space") from error


def _remove(path: Path) -> None:
    """Remove a file that may be gone already, and never hide the error that is on its way."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
