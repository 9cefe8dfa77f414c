"""Read the JSON half of a COCO panoptic set, for truth and predictions alike, and say what is wrong with it."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from axial_deeplab.data.catalog import CategoryMap, parse_categories
from axial_deeplab.data.panoptic_png import MAX_ID
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, Segment

ImageId = int | str


class Annotation(NamedTuple):
    """The segments of one image. `file_name` is that of the PNG; an area of 0 means that the file gave none.

    Pixels of the segment ids in `void` do not count.
    """

    image_id: ImageId
    file_name: str
    segments: tuple[Segment, ...]
    void: frozenset[int] = frozenset()


class PanopticJson(NamedTuple):
    """A COCO panoptic file, category ids already contiguous.

    `annotations` and `images` (file names of the images; empty where the file lists none) are keyed by image id and keep
    the order of the file. `masks` is the folder of the PNGs.
    """

    path: Path
    categories: tuple[Category, ...]
    annotations: dict[ImageId, Annotation]
    images: dict[ImageId, str]
    masks: Path


def read_panoptic_json(path: Path, *, categories: tuple[Category, ...] | None = None) -> PanopticJson:
    """Read and check a COCO panoptic file.

    Args:
        path: The JSON file.
        categories: The classes of the truth when `path` holds predictions: these may then leave out their own list, and
            otherwise it has to agree.

    Raises:
        InputError: The file is absent or no JSON, a key is missing or of the wrong type, an image or a segment id
            repeats, a category is unknown, or the lists of classes disagree. Names the file, the image and the key.
    """
    return parse_panoptic_json(load_object(path), path, categories=categories)


def parse_panoptic_json(
    content: dict[str, Any], path: Path, *, categories: tuple[Category, ...] | None = None
) -> PanopticJson:
    """Check the content of a file, which `load_object` has read, in the way of `read_panoptic_json`.

    Raises:
        InputError: As there, the file itself apart.
    """
    if categories is None:
        categories = parse_categories(take(content, "categories", list, str(path)), path)
    elif "categories" in content:
        _check_agreement(parse_categories(content["categories"], path), categories, path)
    category_map = CategoryMap(categories)
    annotations: dict[ImageId, Annotation] = {}
    for number, entry in enumerate(take(content, "annotations", list, str(path))):
        annotation = _parse_annotation(entry, category_map, f"{path}, annotation {number}")
        if annotations.setdefault(annotation.image_id, annotation) is not annotation:
            raise InputError(f"{path}: two annotations have the image_id {annotation.image_id!r}: keep one of them")
    images = parse_images(take(content, "images", list, str(path)), path) if "images" in content else {}
    return PanopticJson(path, category_map.categories, annotations, images, path.with_suffix(""))


def load_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: The file is absent, no JSON, or no object.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}): write it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold an object with 'annotations', not a {type(content).__name__}")
    return content


def take(entry: Any, key: str, kind: type | tuple[type, ...], where: str, *, default: object = None) -> Any:
    """Return `entry[key]`, or `default` where it is missing or null.

    Raises:
        InputError: It is missing without a default, or of the wrong type.
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    value = default if value is None else value
    if value is None:
        raise InputError(f"{where}: the key '{key}' is missing: is this a COCO panoptic file?")
    if not isinstance(value, kind):
        raise InputError(f"{where}: '{key}' cannot be {value!r:.40}: correct its type")
    return value


def parse_images(entries: list[Any], path: Path) -> dict[ImageId, str]:
    """Return the file names of the list `images` by image id.

    Raises:
        InputError: A key is missing or of the wrong type, or an id repeats.
    """
    images: dict[ImageId, str] = {}
    for number, entry in enumerate(entries):
        where = f"{path}, image {number}"
        image_id: ImageId = take(entry, "id", (int, str), where)
        if image_id in images:
            raise InputError(f"{path}: two images have the id {image_id!r}: keep one of them")
        images[image_id] = take(entry, "file_name", str, where)
    return images


def _parse_annotation(entry: object, category_map: CategoryMap, where: str) -> Annotation:
    image_id: ImageId = take(entry, "image_id", (int, str), where)
    where = f"{where} (image_id {image_id!r})"
    segments = tuple(
        parse_segment(segment, category_map, where) for segment in take(entry, "segments_info", list, where)
    )
    if len({segment.id for segment in segments}) < len(segments):
        raise InputError(f"{where}: a segment id repeats: give each segment its own id")
    return Annotation(image_id, take(entry, "file_name", str, where), segments)


def parse_segment(entry: object, category_map: CategoryMap, where: str) -> Segment:
    """Return one entry of the list `segments_info`.

    Raises:
        InputError: A key is missing or of the wrong type, the id or the area is out of range, or the category is unknown.
    """
    segment_id: int = take(entry, "id", int, where)
    dataset_id: int = take(entry, "category_id", int, where)
    if not 1 <= segment_id <= MAX_ID:
        raise InputError(f"{where}: the segment id {segment_id} is not one of 1 .. {MAX_ID}; 0 is void")
    try:
        category_id = category_map.to_contiguous(dataset_id)
    except InputError as error:
        raise InputError(f"{where}, segment {segment_id}: {error}") from None
    area: float = take(entry, "area", (int, float), where, default=0)
    if not 0 <= area < math.inf:
        raise InputError(f"{where}, segment {segment_id}: 'area' cannot be {area}: give the number of pixels")
    is_crowd = bool(take(entry, "iscrowd", int, where, default=0))
    score = float(take(entry, "score", (int, float), where, default=1.0))
    return Segment(segment_id, category_id, category_map.is_thing[category_id], score, int(area), is_crowd)


def _check_agreement(own: tuple[Category, ...], truth: tuple[Category, ...], path: Path) -> None:
    """Raise InputError unless both lists have the same ids with the same name and kind; order and color are free."""
    ours, theirs = ({(c.id, c.name, c.is_thing) for c in categories} for categories in (own, truth))
    if differing := sorted(ours ^ theirs):
        listed = ", ".join(f"{name} ({number})" for number, name, _ in differing[:3])
        raise InputError(f"{path}: 'categories' differs from the class list in {listed}: use the same list, or none")
