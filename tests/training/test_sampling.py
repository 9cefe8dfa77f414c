"""Samples are functions of seed and number, however they are loaded."""

import numpy as np

from axial_deeplab.training.sampling import StepBatches, locate_sample, make_generator


def test_every_image_comes_once_an_epoch_in_another_order() -> None:
    first, second = ([locate_sample(epoch * 10 + i, length=10, seed=3) for i in range(10)] for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_augmentation_repeats_with_number_and_seed_only() -> None:
    draws = [make_generator(number, seed=seed).random() for number, seed in ((5, 1), (5, 1), (6, 1), (5, 2))]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_permutation_and_augmentation_do_not_share_random_numbers() -> None:
    shuffled = np.random.default_rng((0, 0)).permutation(1000)
    assert not np.array_equal(shuffled, make_generator(0, seed=0).permutation(1000))


def test_batches_continue_where_the_run_stands() -> None:
    whole = list(StepBatches(4, 6, first=lambda: 0))
    assert list(StepBatches(4, 6, first=lambda: 2)) == whole[2:]
    assert len(StepBatches(4, 6, first=lambda: 2)) == 6


def test_ranks_share_each_step_without_overlap() -> None:
    shares = [list(StepBatches(2, 3, rank=rank, world_size=2, first=lambda: 0)) for rank in (0, 1)]
    whole = list(StepBatches(4, 3, first=lambda: 0))
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == whole
