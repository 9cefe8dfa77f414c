"""Class lists of sources: where names come from, which classes are stuff, and their colors."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

from axial_deeplab.data.catalog import parse_categories
from axial_deeplab.data.convert.json_file import read_lines, read_object
from axial_deeplab.data.convert.record import BACKGROUND
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

_BACKGROUND_COLOR = (40, 40, 40)


def make_categories(names: Sequence[str], where: Path | str, *, first_id: int = 1) -> tuple[Category, ...]:
    """Return things with ids that count from `first_id`, and these names; the class `background` is stuff.

    Raises:
        InputError: There is none, or a name is empty or repeats.
    """
    categories = tuple(Category(number, name, name != BACKGROUND) for number, name in enumerate(names, first_id))
    check_names(categories, where)
    return categories


def check_names(categories: Sequence[Category], where: Path | str) -> None:
    """Raise InputError if there is no class, or a name is empty or repeats."""
    names = [category.name for category in categories]
    if not names or not all(names):
        raise InputError(f"{where}: names no class, or one without a name: give each class a name")
    for position, name in enumerate(names):
        if name in names[:position]:
            raise InputError(f"{where}: the class {name!r} is there twice: keep one of them")


def read_classes(values: Sequence[str], *, first_id: int = 1) -> tuple[Category, ...]:
    """Return the classes that someone gave: names, or one file with a name a line, or JSON with `categories`.

    Ids of names count from `first_id`; JSON brings its own, and what is a thing.

    Raises:
        InputError: The file cannot be read, or `check_names` refuses the names.
    """
    if len(values) > 1 or not values[0].endswith((".txt", ".json")):
        return make_categories(values, "--classes", first_id=first_id)
    path = Path(values[0])
    if path.suffix == ".json":
        categories = parse_categories(read_object(path).get("categories"), path)
        check_names(categories, path)
        return categories
    return make_categories(read_lines(path), path, first_id=first_id)


def set_kinds(categories: Sequence[Category], stuff: Sequence[str], things: Sequence[str]) -> tuple[Category, ...]:
    """Make the named classes stuff or things; the others stay what they are.

    Raises:
        InputError: There is no class of that name, or it is in both lists.
    """
    names = [category.name for category in categories]
    for option, given in (("--stuff", stuff), ("--things", things)):
        for name in given:
            if name not in names:
                raise InputError(f"{option}: no class is called {name!r}: there are {', '.join(names[:20])}")
    if both := set(stuff) & set(things):
        raise InputError(f"the class {min(both)!r} cannot be both in --stuff and in --things")
    return tuple(c._replace(is_thing=c.name in things or (c.is_thing and c.name not in stuff)) for c in categories)


def add_background(categories: Sequence[Category]) -> tuple[tuple[Category, ...], int]:
    """Return the classes with the stuff class `background` among them, and its position."""
    for position, category in enumerate(categories):
        if category.name == BACKGROUND:
            return (*categories[:position], category._replace(is_thing=False), *categories[position + 1 :]), position
    background = Category(max((c.id for c in categories), default=0) + 1, BACKGROUND, False)
    return (*categories, background), len(categories)


def choose_missing_colors(categories: Sequence[Category]) -> tuple[Category, ...]:
    """Give each class without a color one; hues a golden section apart stay apart however many there are."""
    colored = []
    for position, category in enumerate(categories):
        color = category.color
        if color is None:
            channels = colorsys.hsv_to_rgb(position * 0.618034 % 1, (0.85, 0.6)[position % 2], 0.9)
            red, green, blue = (round(255 * channel) for channel in channels)
            color = _BACKGROUND_COLOR if category.name == BACKGROUND else (red, green, blue)
        colored.append(category._replace(color=color))
    return tuple(colored)
