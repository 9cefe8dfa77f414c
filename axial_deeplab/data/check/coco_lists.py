"""Read the lists of a COCO panoptic split as far as they go, and say all that is wrong with them.

The reader itself stops at the first fault.
"""

from pathlib import Path
from typing import Any, NamedTuple

from axial_deeplab.data.catalog import CategoryMap
from axial_deeplab.data.check.problems import Problem
from axial_deeplab.data.layouts.coco import GivenPaths, choose_paths, load_listed
from axial_deeplab.data.layouts.split import ImageEntry, SplitIndex
from axial_deeplab.data.panoptic_json import ImageId, parse_segment, take
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, Segment


class _Annotation(NamedTuple):
    """The usable part of an annotation."""

    image_id: ImageId
    label_name: str
    segments: tuple[Segment, ...]
    void: frozenset[int]  # ids of segments that are listed but not usable


def index_leniently(root: Path, split: str, given: GivenPaths = (None, None, None)) -> tuple[SplitIndex, list[Problem]]:
    """Index what is usable of a split, and list what is not.

    Segments of unknown categories become void, so that their pixels are not reported again.

    Raises:
        InputError: There is no such split, or the file or its class list is unusable as a whole.
    """
    paths = choose_paths(root, split, given)
    content, categories = load_listed(root, split, paths.annotations, described=given[1] is None)
    problems: list[Problem] = []
    names = _read_images(take(content, "images", list, str(paths.annotations)), str(paths.annotations), problems)
    entries = take(content, "annotations", list, str(paths.annotations))
    annotations = _read_annotations(entries, categories, str(paths.annotations), problems)
    for image_id in (key for key in annotations if key not in names):
        message = "the annotation names an image that 'images' does not list"
        problems.append(Problem("unlisted-image", str(paths.annotations), message, image_id))
    for image_id in (key for key in names if key not in annotations):
        message = f"{names[image_id]} is listed without an annotation"
        problems.append(Problem("unannotated-image", str(paths.annotations), message, image_id))
    usable = [
        ImageEntry(image_id, names[image_id], annotation.label_name, annotation.segments, annotation.void)
        for image_id, annotation in annotations.items()
        if image_id in names
    ]
    return SplitIndex(categories, paths, tuple(usable)), problems


def _read_images(entries: list[Any], file: str, problems: list[Problem]) -> dict[ImageId, str]:
    names: dict[ImageId, str] = {}
    for number, entry in enumerate(entries):
        try:
            image_id: ImageId = take(entry, "id", (int, str), f"image {number}")
            name: str = take(entry, "file_name", str, f"image {number}")
        except InputError as error:
            problems.append(Problem("malformed-entry", file, str(error)))
            continue
        if image_id in names:
            problems.append(Problem("duplicate-image", file, f"{names[image_id]} and {name} have one id", image_id))
        names.setdefault(image_id, name)
    return names


def _read_annotations(
    entries: list[Any], categories: tuple[Category, ...], file: str, problems: list[Problem]
) -> dict[ImageId, _Annotation]:
    category_map = CategoryMap(categories)
    annotations: dict[ImageId, _Annotation] = {}
    for number, entry in enumerate(entries):
        where = f"annotation {number}"
        try:
            image_id: ImageId = take(entry, "image_id", (int, str), where)
            label_name: str = take(entry, "file_name", str, where)
            listed: list[Any] = take(entry, "segments_info", list, where)
        except InputError as error:
            problems.append(Problem("malformed-entry", file, str(error)))
            continue
        if image_id in annotations:
            message = f"{annotations[image_id].label_name} and {label_name} have one image_id"
            problems.append(Problem("duplicate-annotation", file, message, image_id))
            continue
        segments, void, faults = _read_segments(listed, category_map, where)
        problems += [fault._replace(file=file, image_id=image_id) for fault in faults]
        annotations[image_id] = _Annotation(image_id, label_name, segments, void)
    return annotations


def _read_segments(
    entries: list[Any], category_map: CategoryMap, where: str
) -> tuple[tuple[Segment, ...], frozenset[int], list[Problem]]:
    """Return the usable segments, the ids of the others as far as they have one, and the problems, without their file."""
    known = {category.id for category in category_map.categories}
    segments: dict[int, Segment] = {}
    void: set[int] = set()
    faults: list[Problem] = []
    for entry in entries:
        entry_id = entry.get("id") if isinstance(entry, dict) else None
        number = entry_id if isinstance(entry_id, int) else None
        try:
            segment = parse_segment(entry, category_map, where)
        except InputError as error:
            category = entry.get("category_id") if isinstance(entry, dict) else None
            unknown = isinstance(category, int) and category not in known
            faults.append(Problem("unknown-category" if unknown else "malformed-entry", "", str(error), None, number))
            void |= set() if number is None else {number}
            continue
        if segment.id in segments:
            faults.append(Problem("duplicate-segment", "", "the id repeats; the first one counts", None, segment.id))
        segments.setdefault(segment.id, segment)
    return tuple(segments.values()), frozenset(void - segments.keys()), faults
