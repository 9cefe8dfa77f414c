"""split_panoptic_map, to_semantic and to_instances."""

import pytest
import torch

from axial_deeplab.errors import InputError
from axial_deeplab.panoptic.labels import split_panoptic_map, to_instances, to_semantic
from axial_deeplab.records import IGNORE_LABEL, PanopticPrediction, Segment

MAP = torch.tensor([[0, 7, 7, 300], [16777215, 7, 50, 300]], dtype=torch.int32)
SEGMENTS = [
    Segment(300, 2, True, score=0.5),
    Segment(7, 4, False, score=0.9),
    Segment(999, 3, True),  # cropped away
    Segment(16777215, 2, True, score=0.7),
    Segment(50, 2, True, is_crowd=True),
]


def test_split() -> None:
    semantic, instance, crowd = split_panoptic_map(MAP, SEGMENTS)
    assert semantic.tolist() == [[IGNORE_LABEL, 4, 4, 2], [2, 4, IGNORE_LABEL, 2]]
    assert instance.tolist() == [[0, 0, 0, 1], [2, 0, 0, 1]]
    assert crowd.tolist() == [[False] * 4, [False, False, True, False]]
    assert (semantic.dtype, instance.dtype, crowd.dtype) == (torch.uint8, torch.int32, torch.bool)


def test_split_keeps_the_class_of_crowd_if_asked() -> None:
    semantic, instance, crowd = split_panoptic_map(MAP, SEGMENTS, crowd_as_ignore=False)
    assert semantic[1, 2] == 2
    assert instance[1, 2] == 0
    assert crowd[1, 2]


def test_empty_maps() -> None:
    semantic, instance, crowd = split_panoptic_map(torch.zeros(1, 1, dtype=torch.int32), [])
    assert (semantic.item(), instance.item(), crowd.item()) == (IGNORE_LABEL, 0, False)
    assert to_instances(PanopticPrediction(torch.zeros(1, 1, dtype=torch.int32))) == []


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (SEGMENTS[1:], "no segment describes"),
        ([*SEGMENTS, Segment(7, 1, False)], "repeat"),
        ([*SEGMENTS, Segment(0, 1, False)], "repeat or equal 0"),
        ([*SEGMENTS, Segment(1, IGNORE_LABEL, False)], "class 255"),
    ],
)
def test_bad_segments(segments: list[Segment], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_panoptic_map(MAP, segments)


def test_views_of_a_prediction() -> None:
    prediction = PanopticPrediction(MAP, [*SEGMENTS[:4], Segment(50, 0, False)])
    assert to_semantic(prediction).tolist() == [[IGNORE_LABEL, 4, 4, 2], [2, 4, 0, 2]]
    instances = to_instances(prediction)
    assert [segment.id for segment, _ in instances] == [999, 16777215, 300]
    for segment, mask in instances:
        assert torch.equal(mask, segment.id == MAP)
