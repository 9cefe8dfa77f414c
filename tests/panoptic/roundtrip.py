"""Which segments do not survive the way through targets and perfect heads, and why.

There are two causes. A third one, a center that a neighbor within the window of the maximum search suppresses, cannot occur:
exact heatmaps have the same value, 1, at all centers, and equal maxima all stay.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from axial_deeplab.panoptic.labels import split_panoptic_map
from axial_deeplab.records import PanopticPrediction, Segment
from tests.oracles.targets import find_center, list_instances

COINCIDING = "coinciding centers"
TOO_SMALL = "stuff below the area limit"


def find_lost(panoptic_map: Tensor, segments: Sequence[Segment], prediction: PanopticPrediction) -> set[int]:
    """Return the ids of segments that no predicted segment equals in pixels and class."""
    classes = {segment.id: segment.category_id for segment in prediction.segments}
    lost = set()
    for segment in segments:
        mask = panoptic_map == segment.id
        predicted = prediction.panoptic_map[mask].unique()
        same = len(predicted) == 1 and torch.equal(prediction.panoptic_map == predicted, mask)
        if not same or classes.get(int(predicted[0])) != segment.category_id:
            lost.add(segment.id)
    return lost


def explain_losses(panoptic_map: Tensor, segments: Sequence[Segment], stuff_area_limit: int) -> dict[int, str]:
    """Return the segments that cannot come back, with the cause."""
    semantic, instance, crowd = (part.numpy() for part in split_panoptic_map(panoptic_map, segments))
    things = [segment.id for segment in segments if segment.is_thing]  # instance n is the n-th of these
    instances = list_instances(semantic, instance, crowd)
    centers = {things[number - 1]: find_center(pixels) for number, pixels in instances.items()}
    causes = {segment.id: TOO_SMALL for segment in segments if not segment.is_thing and segment.area < stuff_area_limit}
    for segment_id, center in centers.items():
        if list(centers.values()).count(center) > 1:
            causes[segment_id] = COINCIDING
    return causes
