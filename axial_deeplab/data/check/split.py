"""One split under examination: its lists, and each of its images against its labels."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from axial_deeplab.data.check.coco_lists import index_leniently
from axial_deeplab.data.check.problems import Problem
from axial_deeplab.data.cityscapes_scoring import split_instance_ids
from axial_deeplab.data.convert.label_images import read_label_image
from axial_deeplab.data.image_folder import read_image, to_rgb_array
from axial_deeplab.data.layouts.coco import GivenPaths
from axial_deeplab.data.layouts.detect import choose_layout, index_split
from axial_deeplab.data.layouts.split import ImageEntry
from axial_deeplab.data.panoptic_png import count_pixels, read_ids
from axial_deeplab.errors import InputError
from axial_deeplab.records import VOID_ID, Category, PanopticRecord, Segment


@dataclass(frozen=True)
class DataSource:
    """Where a data set is and how it is laid out; see `CocoPanopticDataset`."""

    root: str
    images: str | None = None
    annotations: str | None = None
    layout: str = "auto"
    version: str | None = None


class CheckedImage(NamedTuple):
    """What is wrong with an image, its record if it can be used, and a number that equal images share."""

    problems: list[Problem]
    record: PanopticRecord | None = None
    fingerprint: bytes = b""


class CheckedSplit:
    """The images of a split; unlike the reader, it goes on after a fault.

    Attributes:
        name: The name of the split.
        index: The usable part of its lists.
        problems: What is wrong with the lists.
    """

    def __init__(self, source: DataSource, name: str) -> None:
        """Index a split.

        Raises:
            InputError: It cannot be used at all.
        """
        self.name, self.problems = name, list[Problem]()
        given: GivenPaths = (source.images, source.annotations, None)
        root = Path(source.root)
        layout = choose_layout(root, source.layout, source.version, explicit=any(given))
        if layout == "coco":
            self.index, self.problems = index_leniently(root, name, given)
        else:
            self.index = index_split(root, name, layout=layout, version=source.version)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.index.images)

    def name_image(self, position: int) -> str:
        """Return the path of an image."""
        return str(self.index.paths.images / self.index.images[position].file_name)

    def check(self, position: int) -> CheckedImage:
        """Read an image and its labels and compare them; the record has the areas of the labels.

        Segments without a pixel are left out of the record, unlisted ids become void.
        """
        entry, paths = self.index.images[position], self.index.paths
        where = paths.images / entry.file_name, paths.masks / entry.label_name
        return _check_files(where, entry, self.index.categories)

    def read(self, position: int) -> PanopticRecord | None:
        """Return the record of an image, or None if it cannot be used."""
        return self.check(position).record


def _check_files(where: tuple[Path, Path], entry: ImageEntry, categories: tuple[Category, ...]) -> CheckedImage:
    """Check the files of an image and of its labels."""
    problems: list[Problem] = []
    image = labels = None
    try:
        image = to_rgb_array(read_image(where[0]))
    except InputError as error:
        kind = "unreadable-image" if where[0].is_file() else "missing-image"
        problems.append(Problem(kind, str(where[0]), str(error), entry.image_id))
    try:
        labels = _read_labels(where[1], entry, categories)
    except InputError as error:
        kind = "unreadable-label" if where[1].is_file() else "missing-label"
        problems.append(Problem(kind, str(where[1]), str(error), entry.image_id))
    if image is None or labels is None:
        return CheckedImage(problems)
    ids, segments = labels
    if image.shape[:2] != ids.shape:
        sizes = ["×".join(map(str, shape)) for shape in (ids.shape, image.shape[:2])]
        message = f"has {sizes[0]} pixels but {where[0]} has {sizes[1]}"
        return CheckedImage([*problems, Problem("unequal-sizes", str(where[1]), message, entry.image_id)])
    if segments is None:
        ids, segments = _compare(ids, entry, str(where[1]), problems)
    pixels_first = torch.from_numpy(image).permute(2, 0, 1).contiguous()  # [3, height, width]
    record = PanopticRecord(pixels_first, torch.from_numpy(ids), segments, entry.image_id, entry.file_name)
    return _check_record(record, str(where[1]), problems)


def _read_labels(
    path: Path, entry: ImageEntry, categories: tuple[Category, ...]
) -> tuple[np.ndarray, tuple[Segment, ...] | None]:
    """Return the map, and its segments if no list says what they are."""
    if entry.segments is not None:
        return read_ids(path), None
    truth = split_instance_ids(read_label_image(path, str(path)), categories)
    return truth.panoptic_map, tuple(truth.segments)


def _compare(
    ids: np.ndarray, entry: ImageEntry, file: str, problems: list[Problem]
) -> tuple[np.ndarray, tuple[Segment, ...]]:
    """Compare a map with the list of its segments; return the map without unlisted ids and the segments in it."""
    area = count_pixels(ids)
    listed = {segment.id: segment for segment in entry.segments or ()}
    unlisted = sorted(area.keys() - listed.keys() - entry.void - {VOID_ID})
    for number in unlisted:
        message = f"{area[number]} pixels have an id that is not listed"
        problems.append(Problem("unlisted-segment", file, message, entry.image_id, number))
    for number, segment in listed.items():
        if number not in area:
            problems.append(Problem("absent-segment", file, "no pixel has the id", entry.image_id, number))
        elif segment.area not in (0, area[number]):
            message = f"the listed area is {segment.area}, the map has {area[number]} pixels"
            problems.append(Problem("wrong-area", file, message, entry.image_id, number))
    if unlisted or entry.void:
        ids = np.where(np.isin(ids, [*unlisted, *entry.void]), VOID_ID, ids)
    return ids, tuple(s._replace(area=area[s.id]) for s in listed.values() if s.id in area)


def _check_record(record: PanopticRecord, file: str, problems: list[Problem]) -> CheckedImage:
    """Look for what may be meant so, but seldom is."""
    if not record.segments:
        problems.append(Problem("empty-image", file, "all pixels are void", record.image_id))
    for segment in record.segments:
        if segment.is_crowd and not segment.is_thing:
            problems.append(Problem("stuff-crowd", file, "iscrowd is for things", record.image_id, segment.id))
    problems += _find_divided_stuff(record.segments, file, record.image_id)
    digest = hashlib.blake2b(record.image.numpy().tobytes(), digest_size=8)
    digest.update(str(tuple(record.image.shape)).encode())
    return CheckedImage(problems, record, digest.digest())


def _find_divided_stuff(segments: Sequence[Segment], file: str, image_id: int | str) -> list[Problem]:
    stuff = Counter(segment.category_id for segment in segments if not segment.is_thing and not segment.is_crowd)
    first = {segment.category_id: segment.id for segment in reversed(segments)}
    return [
        Problem("divided-stuff", file, f"its class has {count} segments in the image", image_id, first[category])
        for category, count in stuff.items()
        if count > 1
    ]
