"""Take panoptic maps apart: per-pixel classes, numbered instances, masks.

A panoptic map says for each pixel which segment owns it; what a segment is stands in its `Segment`. The functions here
join the two by one table look-up, so their cost hardly depends on the number of segments.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from axial_deeplab.errors import InputError
from axial_deeplab.records import IGNORE_LABEL, VOID_ID, PanopticPrediction, Segment


def split_panoptic_map(
    panoptic_map: Tensor, segments: Sequence[Segment], *, crowd_as_ignore: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Split an id map into the classes, the instances and the crowd mask that `encode_targets` takes.

    Args:
        panoptic_map: Integer [height, width], segment ids, `VOID_ID` where unlabeled.
        segments: One entry for every id in the map; entries without pixels (cropped away) are allowed.
        crowd_as_ignore: Give crowd pixels `IGNORE_LABEL` instead of their class.

    Returns:
        The class of each pixel, uint8 [height, width], contiguous, `IGNORE_LABEL` where unlabeled; the instance of each
        pixel, int32 [height, width], 1..n without gaps in the order of `segments` on things that are not crowd, 0
        elsewhere; and the crowd pixels, bool [height, width].

    Raises:
        InputError: The map holds an id that no segment describes, two segments share an id, a segment has the id of
            void, or a class does not fit below `IGNORE_LABEL`.
    """
    row = _find_rows(panoptic_map, segments)
    crowd = torch.tensor([False, *(segment.is_crowd for segment in segments)], device=row.device)
    thing = torch.tensor([False, *(segment.is_thing for segment in segments)], device=row.device)
    semantic = _list_classes(segments, row.device)
    if crowd_as_ignore:
        semantic[crowd] = IGNORE_LABEL
    present = torch.bincount(row.flatten(), minlength=len(segments) + 1) > 0
    countable = thing & ~crowd & present
    number = (countable.cumsum(0) * countable).to(torch.int32)
    return semantic[row], number[row], crowd[row]


def to_semantic(prediction: PanopticPrediction) -> Tensor:
    """Return the class of each pixel, uint8 [height, width], contiguous, `IGNORE_LABEL` where void."""
    row = _find_rows(prediction.panoptic_map, prediction.segments)
    return _list_classes(prediction.segments, row.device)[row]


def to_instances(prediction: PanopticPrediction) -> list[tuple[Segment, Tensor]]:
    """Return the things, highest score first, each with its mask, bool [height, width].

    The masks do not overlap. Each costs one byte per pixel.
    """
    things = [segment for segment in prediction.segments if segment.is_thing]
    things.sort(key=lambda segment: -segment.score)
    return [(segment, prediction.panoptic_map == segment.id) for segment in things]


def _find_rows(panoptic_map: Tensor, segments: Sequence[Segment]) -> Tensor:
    """Return for each pixel 1 + the position of its segment, or 0 where void; int64, shaped like the map."""
    ids = [VOID_ID, *(segment.id for segment in segments)]
    if len(set(ids)) != len(ids):
        raise InputError(f"segment ids repeat or equal {VOID_ID}, the id of void: give each segment its own id from 1")
    known, position = torch.tensor(ids, device=panoptic_map.device).sort()
    pixels = panoptic_map.long()
    slot = torch.searchsorted(known, pixels).clamp_(max=len(ids) - 1)
    unknown = pixels[known[slot] != pixels]
    if unknown.numel():
        listed = unknown.unique()[:5].tolist()
        raise InputError(f"the panoptic map holds ids that no segment describes ({listed}): list them or set them to 0")
    return position[slot]


def _list_classes(segments: Sequence[Segment], device: torch.device) -> Tensor:
    """Return the class of void and of each segment, uint8 [1 + segments]."""
    for segment in segments:
        if not 0 <= segment.category_id < IGNORE_LABEL:
            raise InputError(
                f"segment {segment.id} has class {segment.category_id}: contiguous classes are 0 .. {IGNORE_LABEL - 1}"
            )
    classes = [IGNORE_LABEL, *(segment.category_id for segment in segments)]
    return torch.tensor(classes, dtype=torch.uint8, device=device)
