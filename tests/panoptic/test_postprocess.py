"""postprocess against the golden maps and scores, and the float64 loops."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from axial_deeplab.panoptic.grouping import find_centers, group_pixels, suppress_non_maxima
from axial_deeplab.panoptic.postprocess import (
    MergedMaps,
    PostprocessConfig,
    merge_maps,
    postprocess,
    postprocess_probabilities,
)
from axial_deeplab.records import PanopticOutput, PanopticPrediction
from tests.oracles.postprocess import postprocess_slowly
from tests.panoptic.golden_cases import POST_CASES, PostCase


@pytest.fixture(params=POST_CASES)
def case(request: pytest.FixtureRequest, golden: Path) -> PostCase:
    return PostCase(golden, request.param)


def test_centers_equal_golden(case: PostCase) -> None:
    heatmap = case.output.center_heatmap[0, 0].float()
    config = case.config
    after_nms = suppress_non_maxima(heatmap, threshold=config.center_threshold, kernel=config.nms_kernel)
    np.testing.assert_array_equal(after_nms.numpy(), case["center_heatmap_after_nms"][0])
    centers = find_centers(
        heatmap, threshold=config.center_threshold, kernel=config.nms_kernel, max_centers=config.max_centers
    )
    np.testing.assert_array_equal(centers.position.numpy(), case["centers_yx"])


@pytest.mark.parametrize("name", [*POST_CASES, "toy_topk_impl_defined"])
def test_instances_and_merge_equal_golden(golden: Path, name: str) -> None:
    """With the centers as given, which are accidental in the case whose name says so, all else is defined."""
    case = PostCase(golden, name)
    centers = torch.from_numpy(case["centers_yx"]).long()
    semantic = case.output.semantic_logits[0].float().softmax(0).argmax(0)
    np.testing.assert_array_equal(semantic.numpy(), case["semantic"][0])
    is_thing = torch.tensor(case.is_thing)
    instance = group_pixels(case.output.offset[0], centers, is_thing[semantic])
    np.testing.assert_array_equal(instance.numpy(), case["instance"][0])
    score = torch.cat((torch.zeros(1), case.output.center_heatmap[0, 0].float()[centers[:, 0], centers[:, 1]]))
    np.testing.assert_array_equal(score[instance].numpy(), case["instance_score_map"][0])
    merged = merge_maps(
        semantic, instance, is_thing, stuff_area_limit=case.config.stuff_area_limit, void_class=case.void_class
    )
    things = [index < len(merged.center) for index in range(len(merged.category))]
    labels = np.array(case.name_segments(merged.category.tolist(), things))
    np.testing.assert_array_equal(labels[merged.panoptic_map.numpy()], case["panoptic_tf"][0])


def test_panoptic_maps_equal_golden(case: PostCase) -> None:
    (prediction,) = postprocess(case.output, case.is_thing, case.config, void_class=case.void_class)
    segments = prediction.segments
    labels = np.array(case.name_segments([s.category_id for s in segments], [s.is_thing for s in segments]))
    np.testing.assert_array_equal(labels[prediction.panoptic_map.numpy()], case["panoptic_tf"][0])
    for segment in segments:
        assert segment.area == (case["panoptic_tf"][0] == labels[segment.id]).sum()


def test_scores_equal_golden(case: PostCase) -> None:
    """The reference scores stuff as 0, its instance score being 0; ours is the mean probability."""
    (prediction,) = postprocess(case.output, case.is_thing, case.config, void_class=case.void_class)
    segments = prediction.segments
    labels = case.name_segments([s.category_id for s in segments], [s.is_thing for s in segments])[1:]
    golden = dict(zip(case["combined_score_labels"].tolist(), case["combined_scores"].tolist(), strict=True))
    assert sorted(labels) == sorted(golden)
    probs = case.output.semantic_logits[0].double().softmax(0)
    for label, segment in zip(labels, segments, strict=True):
        if segment.is_thing:
            assert segment.score == pytest.approx(golden[label], rel=1e-5)
        else:
            mask = prediction.panoptic_map == segment.id
            assert segment.score == pytest.approx(probs[segment.category_id][mask].mean().item(), rel=1e-5)


IS_THING = [False, True, True, False, False]


def make_heads(seed: int, shape: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return coarse probabilities, a heatmap and offsets on which ties of every kind occur."""
    generator = torch.Generator().manual_seed(seed)
    height, width = shape
    coarse = torch.randint(0, 4, (5, height // 4 + 1, width // 4 + 1), generator=generator).float()
    logits = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :height, :width]
    heatmap = torch.randint(0, 9, shape, generator=generator).float() / 6
    offset = torch.randint(-9, 10, (2, *shape), generator=generator).float() / 2
    return logits.softmax(0), heatmap, offset


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (23, 19), (40, 33)])
@pytest.mark.parametrize("limit", [0, 30])
@pytest.mark.parametrize("void_class", [None, 3, 1])
def test_equals_loops(shape: tuple[int, int], limit: int, void_class: int | None) -> None:
    heads = make_heads(shape[0] + limit, shape)
    config = PostprocessConfig(center_threshold=0.4, nms_kernel=4, stuff_area_limit=limit)
    prediction = postprocess_probabilities(*heads, is_thing=IS_THING, config=config, void_class=void_class)
    is_thing = [thing and category != void_class for category, thing in enumerate(IS_THING)]
    expected_map, expected = postprocess_slowly(
        *(head.numpy() for head in heads),
        is_thing,
        threshold=0.4,
        kernel=4,
        stuff_area_limit=limit,
        void_class=void_class,
    )
    np.testing.assert_array_equal(prediction.panoptic_map.numpy(), expected_map)
    assert len(prediction.segments) == len(expected)
    for ours, slow in zip(prediction.segments, expected, strict=True):
        assert ours[:3] == slow[:3]
        assert ours.area == slow.area
        assert ours.score == pytest.approx(slow.score, rel=1e-6)


def make_output(categories: list[list[int]], *, centers: bool = True, num_classes: int = 3) -> PanopticOutput:
    """Return heads of one image with the given class of each pixel, one center in a corner, all offsets 0."""
    semantic = torch.tensor(categories)
    heatmap = torch.zeros(1, 1, *semantic.shape)
    heatmap[..., 0, 0] = float(centers)
    logits = torch.nn.functional.one_hot(semantic, num_classes).permute(2, 0, 1)[None] * 20.0
    return PanopticOutput(logits, heatmap, torch.zeros(1, 2, *semantic.shape))


def run(output: PanopticOutput, is_thing: list[bool], **options: Any) -> PanopticPrediction:
    (prediction,) = postprocess(output, is_thing, PostprocessConfig(nms_kernel=3), **options)
    assert prediction.panoptic_map.dtype == torch.int32
    assert all(0 <= segment.score <= 1 and segment.area > 0 for segment in prediction.segments)
    return prediction


def test_things_without_center_are_void() -> None:
    prediction = run(make_output([[0, 1, 1], [2, 2, 1]], centers=False), [False, True, True])
    assert prediction.panoptic_map.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert [segment.category_id for segment in prediction.segments] == [0]


def test_no_thing_class() -> None:
    prediction = run(make_output([[2, 1, 1], [0, 2, 1]]), [False, False, False])
    assert prediction.panoptic_map.tolist() == [[3, 2, 2], [1, 3, 2]]


def test_all_void() -> None:
    prediction = run(make_output([[1, 1]]), [False, False, False], void_class=1)
    assert prediction.panoptic_map.tolist() == [[0, 0]]
    assert prediction.segments == []


@pytest.mark.parametrize("category", [0, 1, 2])
def test_one_pixel(category: int) -> None:
    prediction = run(make_output([[category]]), [False, True, False], void_class=2)
    assert len(prediction.segments) == (category != 2)
    assert prediction.panoptic_map.item() == (category != 2)


def test_majority_ties_take_the_smaller_class() -> None:
    prediction = run(make_output([[2, 1, 2, 1], [0, 0, 0, 0]]), [False, True, True])
    assert prediction.panoptic_map.tolist() == [[1, 1, 1, 1], [2, 2, 2, 2]]
    assert [segment.category_id for segment in prediction.segments] == [1, 0]


def test_stuff_area_limit_is_inclusive() -> None:
    output = make_output([[0, 0, 0, 1, 1]])
    (prediction,) = postprocess(output, [False, False, True], PostprocessConfig(stuff_area_limit=3))
    assert prediction.panoptic_map.tolist() == [[1, 1, 1, 0, 0]]


def test_scores_stay_below_one() -> None:
    output = make_output([[1, 1]])
    output.center_heatmap[..., 0, 0] = 1.7
    assert run(output, [False, True, False]).segments[0].score == 1.0


def test_ids_order_things_by_first_pixel_then_stuff_by_class() -> None:
    semantic = torch.tensor([[3, 1, 1, 0], [2, 2, 1, 0]])
    instance = torch.tensor([[0, 3, 3, 0], [1, 1, 3, 0]], dtype=torch.int32)
    merged = merge_maps(semantic, instance, torch.tensor([False, True, True, False]))
    assert isinstance(merged, MergedMaps)
    assert merged.panoptic_map.tolist() == [[4, 1, 1, 3], [2, 2, 1, 3]]
    assert merged.category.tolist() == [1, 2, 0, 3]
    assert merged.center.tolist() == [2, 0]


def test_batch_equals_single_images() -> None:
    cases = [make_heads(seed, (31, 17)) for seed in range(3)]
    batch = PanopticOutput(
        torch.stack([probs.log() for probs, _, _ in cases]).to(torch.bfloat16),
        torch.stack([heatmap for _, heatmap, _ in cases])[:, None],
        torch.stack([offset for _, _, offset in cases]),
    )
    predictions = postprocess(batch, IS_THING)
    assert len(predictions) == 3
    for index, prediction in enumerate(predictions):
        (single,) = postprocess(PanopticOutput(*(head[index : index + 1] for head in batch)), IS_THING)
        assert torch.equal(single.panoptic_map, prediction.panoptic_map)
        assert single.segments == prediction.segments


def test_needs_no_gradient() -> None:
    output = PanopticOutput(*(head.requires_grad_() for head in make_output([[0, 1]])))
    assert not run(output, [False, True, False]).panoptic_map.requires_grad


def test_bad_arguments() -> None:
    output = make_output([[0, 1]])
    with pytest.raises(ValueError, match="is_thing names 2 classes, the semantic head has 3"):
        postprocess(output, [True, False])
    with pytest.raises(ValueError, match="void_class 3"):
        postprocess(output, [True, False, False], void_class=3)
    for values in ({"center_threshold": -0.1}, {"nms_kernel": 0}, {"stuff_area_limit": -1}, {"max_centers": 0}):
        with pytest.raises(ValueError, match="start"):
            PostprocessConfig(**values)


@pytest.mark.parametrize("head", PanopticOutput._fields)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_heads_that_are_not_finite_are_refused(head: str, value: float) -> None:
    output = make_output([[0, 1], [1, 2]])
    getattr(output, head)[0, 0, 1, 1] = value
    with pytest.raises(ValueError, match=f"{head} holds NaN or infinity"):
        run(output, [False, True, False])
