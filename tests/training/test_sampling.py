"""Samples are functions of seed and number, however they are loaded."""

import numpy as np

from axial_deeplab.training.sampling import PARTS_AT_ONCE, StepBatches, locate_in_parts, locate_sample, make_generator


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


def test_parts_give_every_image_once_an_epoch_and_few_are_read_at_a_time() -> None:
    parts = tuple(5 + number % 7 for number in range(100))
    owners = np.repeat(np.arange(100), parts)
    epochs = []
    for epoch in range(2):
        seen = [locate_in_parts(epoch * len(owners) + n, parts=parts, seed=1) for n in range(len(owners))]
        assert sorted(seen) == list(range(len(owners)))
        first, last = np.full(100, len(owners)), np.zeros(100, int)
        for step, index in enumerate(seen):
            first[owners[index]] = min(first[owners[index]], step)
            last[owners[index]] = step
        open_at = [np.sum((first <= step) & (last >= step)) for step in range(len(owners))]
        assert max(open_at) <= PARTS_AT_ONCE + 1
        assert np.mean(open_at) > PARTS_AT_ONCE / 2
        epochs.append(seen)
    assert epochs[0] != epochs[1]


def test_one_part_is_shuffled_as_a_folder_is() -> None:
    for number in (0, 7, 25):
        assert locate_in_parts(number, parts=(11,), seed=2) == locate_sample(number, length=11, seed=2)
