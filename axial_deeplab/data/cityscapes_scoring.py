"""What the Cityscapes benchmark knows beyond its class list, and its own form of the truth.

Source: mcordts/cityscapesScripts, helpers/labels.py (the groups, which it calls categories) and
evaluation/evalPixelLevelSemanticLabeling.py (the mean areas).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from axial_deeplab.data.panoptic_png import count_pixels
from axial_deeplab.errors import InputError
from axial_deeplab.records import VOID_ID, Category, Segment

INSTANCES_PER_LABEL = 1000
"""int: The pixels of instance n of a label have the id `1000 * label + n`; below 1000 an id is the label alone."""

MAX_LABEL = 33
"""int: The largest label of the benchmark; 0 .. 6 and some between are not scored."""

MAX_INSTANCE_ID = 2**16 - 1
"""int: The files have 16 bits."""


class CityscapesScoring(NamedTuple):
    """Facts by the name of a class."""

    group: dict[str, str]  # the category of the benchmark: flat, construction, object, nature, sky, human, vehicle
    mean_instance_area: dict[str, float]  # in pixels of full-size images; things only


class CityscapesTruth(NamedTuple):
    """One annotated image."""

    panoptic_map: np.ndarray  # int32 [height, width], VOID_ID where no class is scored
    segments: list[Segment]  # ids as in the file; groups of things are crowd
    excused: np.ndarray  # bool [height, width], where instance AP forgives predictions


def load_cityscapes_scoring() -> CityscapesScoring:
    """Read the facts that come with the package."""
    content = json.loads(Path(__file__).with_name("cityscapes_scoring.json").read_text(encoding="utf-8"))
    return CityscapesScoring(content["group"], content["mean_instance_area"])


def split_instance_ids(instance_ids: np.ndarray, categories: Sequence[Category]) -> CityscapesTruth:
    """Turn the content of a `*_gtFine_instanceIds.png` into a panoptic map with segments.

    Things without an instance number are groups that the annotator did not separate: crowd. Instances of labels that are
    not scored (caravan, trailer) are void but not excused, because the benchmark's instance AP blames predictions there.

    Args:
        instance_ids: Integer [height, width], at least 0.
        categories: The scored classes, with the labels of the benchmark as ids, as in `load_catalog("cityscapes")`.

    Raises:
        InputError: An id is out of range, or its label is none of the benchmark's.
    """
    pixels = count_pixels(instance_ids)
    if min(pixels) < 0 or max(pixels) > MAX_INSTANCE_ID:
        raise InputError(f"instance ids are 0 .. {MAX_INSTANCE_ID}: read a file *_gtFine_instanceIds.png")
    position = {category.id: number for number, category in enumerate(categories)}
    kept = np.full(max(pixels) + 1, VOID_ID, np.int32)
    segments = []
    for number, area in pixels.items():
        label = number // INSTANCES_PER_LABEL if number >= INSTANCES_PER_LABEL else number
        if label > MAX_LABEL:
            raise InputError(f"the id {number} has the label {label}: the labels of Cityscapes are 0 .. {MAX_LABEL}")
        if label in position:
            kept[number] = number
            is_thing = categories[position[label]].is_thing
            is_crowd = is_thing and number < INSTANCES_PER_LABEL
            segments.append(Segment(number, position[label], is_thing, 1.0, area, is_crowd))
    panoptic_map = kept.take(instance_ids)
    return CityscapesTruth(panoptic_map, segments, (panoptic_map == VOID_ID) & (instance_ids < INSTANCES_PER_LABEL))
