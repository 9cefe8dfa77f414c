"""Labels -> targets -> perfect heads -> segments gives the labels back, but for causes that are listed."""

import pytest
import torch

from axial_deeplab.panoptic.labels import split_panoptic_map
from axial_deeplab.panoptic.postprocess import PostprocessConfig, postprocess
from axial_deeplab.panoptic.targets import encode_targets
from axial_deeplab.records import Segment
from tests.panoptic.label_maps import IS_THING, VOID_CLASS, make_label_map, make_perfect_heads
from tests.panoptic.roundtrip import COINCIDING, TOO_SMALL, explain_losses, find_lost


@pytest.mark.parametrize("nms_kernel", [1, 7, 41])
@pytest.mark.parametrize("stuff_area_limit", [0, 3000])
def test_random_label_maps(nms_kernel: int, stuff_area_limit: int) -> None:
    """Centers within one window survive each other, since exact heatmaps have the value 1 at all of them."""
    config = PostprocessConfig(nms_kernel=nms_kernel, stuff_area_limit=stuff_area_limit)
    maps, label_maps = [], []
    for seed in range(20):
        label_maps.append(make_label_map(seed))
        maps.append(split_panoptic_map(*label_maps[-1]))
    targets = encode_targets(*(torch.stack(part) for part in zip(*maps, strict=True)), sigma=4.0)
    heads = make_perfect_heads(targets, len(IS_THING), void_class=VOID_CLASS)
    predictions = postprocess(heads, IS_THING, config, void_class=VOID_CLASS)
    total = 0
    for (panoptic_map, segments), prediction in zip(label_maps, predictions, strict=True):
        causes = explain_losses(panoptic_map, segments, stuff_area_limit)
        assert find_lost(panoptic_map, segments, prediction) == set(causes), causes
        recovered = [segment for segment in segments if segment.id not in causes]
        void = (panoptic_map == 0) | torch.isin(
            panoptic_map, torch.tensor([i for i, cause in causes.items() if cause == TOO_SMALL])
        )
        assert torch.equal(prediction.panoptic_map == 0, void)
        assert all(segment.score > 0.999 for segment in prediction.segments)
        total += len(recovered)
    assert total > 200


def test_coinciding_centers_become_one_thing() -> None:
    """A ring around a disk of another class: one center, one segment, of the class with more pixels."""
    y, x = torch.meshgrid(torch.arange(41) - 20, torch.arange(41) - 20, indexing="ij")
    square = y**2 + x**2
    panoptic_map = torch.where(square <= 64, 3, torch.where(square <= 225, 2, 1)).to(torch.int32)
    segments = [Segment(1, 0, False, area=100), Segment(2, 3, True), Segment(3, 4, True)]
    assert explain_losses(panoptic_map, segments, 0) == {2: COINCIDING, 3: COINCIDING}
    targets = encode_targets(*(part[None] for part in split_panoptic_map(panoptic_map, segments)))
    (prediction,) = postprocess(make_perfect_heads(targets, len(IS_THING)), IS_THING)
    assert [segment.category_id for segment in prediction.segments] == [3, 0]
    assert torch.equal(prediction.panoptic_map == 1, panoptic_map > 1)


def test_crowd_leaves_no_instance() -> None:
    panoptic_map = torch.ones(30, 30, dtype=torch.int32)
    panoptic_map[5:15, 5:15] = 2
    segments = [Segment(1, 0, False, area=800), Segment(2, 3, True, area=100, is_crowd=True)]
    semantic, instance, crowd = split_panoptic_map(panoptic_map, segments, crowd_as_ignore=False)
    targets = encode_targets(semantic[None], instance[None], crowd[None])
    (prediction,) = postprocess(make_perfect_heads(targets, len(IS_THING)), IS_THING)
    assert [segment.category_id for segment in prediction.segments] == [0]
    assert torch.equal(prediction.panoptic_map == 0, panoptic_map == 2)
