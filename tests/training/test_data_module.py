"""From records to batches on the device."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from axial_deeplab.data.augment import AugmentConfig
from axial_deeplab.data.scenes import SceneDataset
from axial_deeplab.errors import InputError
from axial_deeplab.panoptic.targets import encode_targets
from axial_deeplab.training.config import DataConfig, Recipe
from axial_deeplab.training.data_module import (
    Batch,
    TrainingSamples,
    collate_samples,
    encode_batch,
    open_datasets,
)
from tests.data.layout_sources import write_mapillary

SCENES = SceneDataset(4, size=64)


def check_equal(first: Batch, second: Batch) -> None:
    assert first.file_names == second.file_names
    for a, b in zip(first[:4], second[:4], strict=True):
        assert torch.equal(a, b)


def test_sample_depends_on_its_number_alone() -> None:
    config = AugmentConfig((33, 49), color_jitter=0.5)
    samples = TrainingSamples(SCENES, config, seed=3)
    first = samples[5]
    samples[6]
    check_equal(TrainingSamples(SCENES, config, seed=3)[5], first)
    assert first.images.shape == (1, 3, 33, 49)
    assert not torch.equal(TrainingSamples(SCENES, config, seed=4)[5].images, first.images)


def test_an_epoch_shows_every_image() -> None:
    samples = TrainingSamples(SCENES, AugmentConfig((65, 65)), seed=0)
    names = [samples[number].file_names[0] for number in range(8)]
    assert sorted(names[:4]) == sorted(names[4:]) == [SCENES[index].file_name for index in range(4)]


def test_workers_load_the_same_batches() -> None:
    samples = TrainingSamples(SCENES, AugmentConfig((33, 33)), seed=0)
    batches = [[0, 1], [2, 3], [4, 5]]
    alone, helped = (
        list(DataLoader(samples, batch_sampler=batches, collate_fn=collate_samples, num_workers=workers))
        for workers in (0, 2)
    )
    for first, second in zip(alone, helped, strict=True):
        check_equal(first, second)


def test_batch_is_normalised_and_encoded(tiny_recipe: Recipe) -> None:
    samples = TrainingSamples(SCENES, AugmentConfig((65, 65)), seed=0)
    batch = collate_samples([samples[0], samples[1]])
    encoded = encode_batch(batch, tiny_recipe)
    mean, std = (np.array(value)[:, None, None] for value in (tiny_recipe.preprocess.mean, tiny_recipe.preprocess.std))
    np.testing.assert_allclose(encoded.images[1], (batch.images[1].numpy() / 255 - mean) / std, atol=1e-5)
    settings = dataclasses.asdict(tiny_recipe.targets)
    expected = encode_targets(batch.semantic, batch.instance, batch.crowd, **settings)
    assert all(torch.equal(a, b) for a, b in zip(encoded.targets, expected, strict=True))


def test_scored_scenes_are_none_of_those_learned() -> None:
    train, val = open_datasets(DataConfig("scenes", train_scenes=20, val_scenes=20, scene_size=64))
    assert not {train[i].file_name for i in range(20)} & {val[i].file_name for i in range(20)}


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--data\.root PATH"):
        open_datasets(DataConfig())
    with pytest.raises(InputError, match="has no known layout"):
        open_datasets(DataConfig(root=str(tmp_path)))
    with pytest.raises(InputError, match=r"would not be read: add --data\.dataset coco_panoptic"):
        open_datasets(DataConfig("scenes", root=str(tmp_path)))


def test_layout_and_version_reach_the_reader(tmp_path: Path) -> None:
    root = str(write_mapillary(tmp_path, "1.2", "2.0"))
    train, val = open_datasets(DataConfig(root=root, layout="mapillary", version="1.2"))
    assert (len(train), len(val), len(train.categories)) == (2, 1, 2)
    assert len(open_datasets(DataConfig(root=root, version="2.0"))[0].categories) == 4


def test_real_set_opens(shared_data: Path) -> None:
    train, val = open_datasets(DataConfig(root=str(shared_data / "nuclei-mini")))
    assert (len(train), len(val)) == (12, 6)
    samples = TrainingSamples(train, AugmentConfig((65, 65)), seed=0)
    assert samples[0].images.shape == (1, 3, 65, 65)


def test_sample_of_coco_opens_through_explicit_paths(shared_data: Path) -> None:
    config = DataConfig(
        root=str(shared_data / "coco-sample"), images="input_images", annotations="panoptic_examples.json"
    )
    train, _ = open_datasets(config)
    assert [train[index].file_name for index in range(len(train))] == ["000000142238.jpg", "000000439180.jpg"]


def test_explicit_paths_tell_the_splits_apart(shared_data: Path) -> None:
    config = DataConfig(
        root=str(shared_data / "nuclei-mini"),
        images="images/{split}",
        annotations="annotations/panoptic_{split}.json",
    )
    train, val = open_datasets(config)
    assert (len(train), len(val)) == (12, 6)
