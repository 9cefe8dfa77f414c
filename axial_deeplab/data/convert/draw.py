"""Draw the annotations of one image as a map of segments, and count what lies under something else."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.data.convert.record import IGNORE, REST, IdMap, Labels, Shape, Size
from axial_deeplab.records import VOID_ID, Category, Segment


class Drawing(NamedTuple):
    """The segments of one image.

    Attributes:
        ids: int32 [height, width] of segment ids from 1, `VOID_ID` where there is none.
        segments: One entry for every id in the map, ids ascending.
        overlapped: Pixels of segments that a later shape took.
        hidden: Segments that later shapes took whole.
        empty: Shapes that hold the center of no pixel.
    """

    ids: NDArray[np.int32]
    segments: list[Segment]
    overlapped: int = 0
    hidden: int = 0
    empty: int = 0


def draw_labels(labels: Labels, size: Size, categories: Sequence[Category], *, background: int | None) -> Drawing:
    """Draw the annotations of one image.

    Args:
        labels: Shapes, of which later ones lie over earlier ones and crowds lie lowest, or a map.
        size: Height and width of the image.
        categories: The classes. Regions of a stuff class are one segment.
        background: Position of the class of what is not annotated; None makes it void.
    """
    if isinstance(labels, IdMap):
        return _draw_map(labels, categories, background)
    canvas = np.full(size, REST, np.int32)
    keys: dict[tuple[Hashable, ...], int] = {}
    overlapped = empty = 0
    for shape in sorted(labels, key=lambda shape: not shape.is_crowd):
        top, left, mask = shape.patch
        window = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
        covered = window[mask]
        if not covered.size:
            empty += 1
            continue
        number = VOID_ID
        if shape.category != IGNORE:
            number = keys.setdefault(_get_key(shape, categories), len(keys) + 1)
        overlapped += int(((covered > VOID_ID) & (covered != number)).sum())
        window[mask] = number
    rest = canvas == REST
    if background is not None and rest.any():
        canvas[rest] = keys.setdefault((background, None, False), len(keys) + 1)
    drawing = _number(canvas, [(key[0], key[2]) for key in keys], categories)
    return drawing._replace(overlapped=overlapped, hidden=len(keys) - len(drawing.segments), empty=empty)


def _get_key(shape: Shape, categories: Sequence[Category]) -> tuple[Hashable, ...]:
    is_thing = categories[shape.category].is_thing
    return shape.category, shape.object_id if is_thing else None, shape.is_crowd and is_thing


def _draw_map(labels: IdMap, categories: Sequence[Category], background: int | None) -> Drawing:
    classes = labels.categories.astype(np.int64)
    if background is not None:
        classes = np.where(classes == REST, background, classes)
    is_thing = np.array(
        [*(category.is_thing for category in categories), False, False]
    )  # IGNORE, REST count from the end
    objects = np.where(is_thing[classes], labels.objects.astype(np.int64), 0)
    stride = int(objects.max(initial=0)) + 1
    pairs, inverse = np.unique((classes - IGNORE) * stride + objects, return_inverse=True)
    found = [(int(pair // stride) + IGNORE, int(pair % stride)) for pair in pairs]
    kinds: list[tuple[Hashable, Hashable]] = []
    numbers = []
    for category, instance in found:
        if category < 0:
            numbers.append(VOID_ID)
            continue
        kinds.append((category, labels.crowd_zero and instance == 0 and categories[category].is_thing))
        numbers.append(len(kinds))
    canvas = np.array(numbers, np.int32)[inverse].reshape(classes.shape)
    return _number(canvas, kinds, categories)


def _number(
    canvas: NDArray[np.int32], kinds: Sequence[tuple[Hashable, Hashable]], categories: Sequence[Category]
) -> Drawing:
    """Renumber the segments that have a pixel from 1; `kinds` has class and crowd of each number, from 1."""
    canvas = np.maximum(canvas, VOID_ID)
    areas = np.bincount(canvas.ravel(), minlength=len(kinds) + 1)
    segments: list[Segment] = []
    numbers = np.zeros(len(kinds) + 1, np.int32)
    for old, (category, is_crowd) in enumerate(kinds, start=1):
        if areas[old] and isinstance(category, int):
            numbers[old] = len(segments) + 1
            is_thing = categories[category].is_thing
            segments.append(Segment(len(segments) + 1, category, is_thing, 1.0, int(areas[old]), bool(is_crowd)))
    return Drawing(numbers[canvas], segments)
