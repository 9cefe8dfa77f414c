"""Divide images into train and val."""

import random
import re
from collections.abc import Sequence

from axial_deeplab.errors import InputError


def divide(names: Sequence[str], share: float, seed: int, *, pattern: str | None = None) -> list[str]:
    """Return "train" or "val" for each name; the same names in any order give the same division.

    Args:
        names: File names, unique.
        share: The part of the images that goes into "train", between 0 and 1; kept as well as groups allow.
        seed: Another number divides in another way.
        pattern: Regular expression, searched in each name; names with the same text in its first group stay together.

    Raises:
        InputError: `share` is out of range, the pattern is malformed or does not match, or one split would be empty.
    """
    if not 0 < share < 1:
        raise InputError(f"--split must lie between 0 and 1, not {share}: 0.8 puts four of five images into train")
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(_get_group(name, pattern), []).append(name)
    if len(groups) < 2:
        raise InputError(f"--split needs at least two groups of images, there is {len(groups)}: check --group")
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    wanted = min(max(1, round(share * len(names))), len(names) - 1)
    train: set[str] = set()
    for group in order:
        if len(train) + len(groups[group]) <= wanted:
            train.update(groups[group])
    if not train:
        train.update(groups[min(groups, key=lambda group: len(groups[group]))])
    return ["train" if name in train else "val" for name in names]


def _get_group(name: str, pattern: str | None) -> str:
    if pattern is None:
        return name
    try:
        found = re.search(pattern, name)
    except re.error as error:
        raise InputError(f"--group {pattern!r} is no regular expression: {error}") from None
    if re.compile(pattern).groups == 0:
        raise InputError(f"--group {pattern!r} has no group: put what images share in parentheses")
    if found is None or found[1] is None:
        raise InputError(f"{name} does not match --group {pattern!r}: every image needs a group")
    return found[1]
