"""Scenes: the truth is exact, the same seed gives the same scene, every class can be seen."""

import pickle

import pytest
import torch

from axial_deeplab.data.scenes import SCENE_CATEGORIES, SceneDataset, make_scene
from axial_deeplab.errors import InputError
from axial_deeplab.records import VOID_ID, PanopticRecord


def count_things(record: PanopticRecord) -> int:
    return sum(segment.is_thing for segment in record.segments)


@pytest.mark.parametrize("size", [64, 96, 128, 161])
def test_every_pixel_belongs_to_a_listed_segment(size: int) -> None:
    for seed in range(40):
        record = make_scene(seed, size)
        assert record.image.shape == (3, size, size)
        assert record.image.dtype == torch.uint8
        assert record.panoptic_map.shape == (size, size)
        assert record.panoptic_map.dtype == torch.int32
        ids, areas = record.panoptic_map.unique(return_counts=True)
        assert [(segment.id, segment.area) for segment in record.segments] == list(
            zip(ids.tolist(), areas.tolist(), strict=True)
        )
        assert VOID_ID not in ids
        assert areas.min() >= 12
        assert all(segment.is_thing == SCENE_CATEGORIES[segment.category_id].is_thing for segment in record.segments)
        assert 3 <= count_things(record) <= 6
        stuff = [segment.category_id for segment in record.segments if not segment.is_thing]
        assert 1 <= len(stuff) == len(set(stuff)) <= 3


def test_scenes_show_all_classes_and_all_numbers_of_things() -> None:
    records = [make_scene(seed, 96) for seed in range(80)]
    assert {segment.category_id for record in records for segment in record.segments} == set(range(6))
    assert {count_things(record) for record in records} == {3, 4, 5, 6}


def test_things_come_small_and_large_and_hide_each_other() -> None:
    areas: list[int] = []
    touching = 0
    for seed in range(60):
        record = make_scene(seed)
        areas += [segment.area for segment in record.segments if segment.is_thing]
        ids = record.panoptic_map
        touching += int(((ids[:, 1:] != ids[:, :-1]) & (ids[:, 1:] > 3) & (ids[:, :-1] > 3)).any())
    assert min(areas) < 100
    assert max(areas) > 1500
    assert touching > 10


def test_edges_of_the_truth_are_edges_of_the_image() -> None:
    across, within = [], []
    for seed in range(20):
        record = make_scene(seed)
        steps = record.image.float().diff(dim=-1).abs().mean(0)
        edges = record.panoptic_map.diff(dim=-1) != 0
        across.append(steps[edges].mean())
        within.append(steps[~edges].mean())
    assert torch.stack(across).mean() > 2 * torch.stack(within).mean()


def test_seed_and_size_decide_the_scene() -> None:
    first, again = make_scene(7), make_scene(7)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.panoptic_map, again.panoptic_map)
    assert first.segments == again.segments
    assert (first.image_id, first.file_name) == (7, "scene_00000007.png")
    assert not torch.equal(first.image, make_scene(8).image)


def test_datasets_with_different_seeds_share_nothing() -> None:
    train, val = SceneDataset(5, size=64), SceneDataset(5, size=64, seed=1)
    assert len(train) == 5
    assert [record.image_id for record in train] == [0, 1, 2, 3, 4]
    assert not {record.image_id for record in train} & {record.image_id for record in val}
    assert torch.equal(train[3].image, make_scene(3, 64).image)
    assert train[-1].image_id == 4
    assert train.categories is SCENE_CATEGORIES
    with pytest.raises(IndexError):
        train[5]


def test_datasets_travel_to_worker_processes() -> None:
    dataset = SceneDataset(2, size=64, seed=3)
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[1].image, dataset[1].image)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(InputError, match="at least 64"):
        make_scene(0, 32)
    with pytest.raises(InputError, match="count"):
        SceneDataset(1_000_001)
    with pytest.raises(InputError, match="seed"):
        SceneDataset(1, seed=-1)


def test_categories_are_contiguous_and_colored() -> None:
    assert [category.id for category in SCENE_CATEGORIES] == list(range(6))
    assert [category.is_thing for category in SCENE_CATEGORIES] == [False] * 3 + [True] * 3
    assert len({category.color for category in SCENE_CATEGORIES}) == 6
