"""The records that every source format is brought to before it is drawn and written.

A format module has one function `read(root, classes) -> Source`; `classes` are the names, or the file of them, that the
user gave, and empty if there are none. It lists and checks what is cheap to check; the annotations of an image are read
when its turn comes.
"""

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

REST = -1
"""int: Class of pixels that no annotation covers; they become background or void."""

IGNORE = -2
"""int: Class of pixels that the annotator marked as not to be used; they become void."""

BACKGROUND = "background"
"""str: Name of the stuff class that takes the rest of instance-only data."""

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""dict: Folder names that say the split of the images below them, and what it is called here."""

Size = tuple[int, int]  # height, width


class Patch(NamedTuple):
    """A mask [rows, columns], bool, whose first pixel lies at (`top`, `left`) of the image; it never leaves the image."""

    top: int
    left: int
    mask: NDArray[Any]


class Shape(NamedTuple):
    """One drawn region. Shapes of one thing class with the same `object_id` are parts of one object."""

    category: int  # position in `Source.categories`, or IGNORE
    object_id: Hashable
    patch: Patch
    is_crowd: bool = False


class IdMap(NamedTuple):
    """Annotations that come as pixels.

    `categories` is int [height, width] of positions in `Source.categories`, REST or IGNORE; `objects` is int
    [height, width] of instance ids, 0 where an object has none. `crowd_zero` says that a thing without an instance id is
    a crowd.
    """

    categories: NDArray[Any]
    objects: NDArray[Any]
    crowd_zero: bool = False


Labels = tuple[Shape, ...] | IdMap


class LabeledImage(NamedTuple):
    """One image of a source.

    Attributes:
        image: The file, or a function that returns the bytes of one.
        file_name: Relative to its split, with `/`; unique.
        load: Reads the annotations of an image of the size (height, width), in drawing order: later ones lie on top.
        split: The split that the source puts it in, if any.
        image_id: The id that the source gives it, if any.
    """

    image: Path | Callable[[], bytes]
    file_name: str
    load: Callable[[Size], Labels]
    split: str | None = None
    image_id: int | str | None = None


class Source(NamedTuple):
    """What a format module found."""

    categories: tuple[Category, ...]
    images: tuple[LabeledImage, ...]


def take_split(relative: Path) -> tuple[str | None, str]:
    """Cut a leading "train", "val", "valid", "validation" or "test" from a relative path.

    Returns:
        The split or None, and the rest of the path with `/`.
    """
    split = SPLITS.get(relative.parts[0]) if len(relative.parts) > 1 else None
    return split, (relative.relative_to(relative.parts[0]) if split else relative).as_posix()


def check_size(file: Path | str, found: Sequence[int], expected: Size, *, image: Path | str) -> None:
    """Raise InputError, naming both, unless two sizes (height, width) are equal."""
    if tuple(found) == expected:
        return
    hint = "; they differ by a quarter turn, as EXIF orientation makes it" if tuple(found[::-1]) == expected else ""
    sizes = ["×".join(map(str, sides)) for sides in (found, expected)]
    raise InputError(
        f"{file} is for {sizes[0]} pixels (height×width) but {image} has {sizes[1]}{hint}: make them equal"
    )
