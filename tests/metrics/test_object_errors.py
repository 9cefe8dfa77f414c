"""Verdicts on objects and predictions, on maps made by hand."""

from itertools import pairwise

import numpy as np
import pytest

from axial_deeplab.errors import InputError
from axial_deeplab.metrics.error_counts import ErrorCounts, ScoredImage, divide_sizes
from axial_deeplab.metrics.object_errors import ObjectErrors, find_object_errors
from axial_deeplab.metrics.overlaps import measure_overlaps
from axial_deeplab.records import Category, Segment

CATEGORIES = (Category(7, "ground", False), Category(8, "cat", True), Category(9, "dog", True))
WIDTH = 40

Spans = dict[int, tuple[int, int]]
"""First and last column + 1 of each segment, on one row of `WIDTH` pixels; ids from 20 on are dogs, 1 is the ground."""


def draw(spans: Spans, *, ground: bool = True, crowd: int = 0) -> tuple[np.ndarray, list[Segment]]:
    ids = np.full((1, WIDTH), int(ground), np.int32)
    for number, (start, end) in spans.items():
        ids[0, start:end] = number
    present = [number for number in np.unique(ids).tolist() if number]
    classes = {number: 0 if number == 1 else 1 + (number >= 20) for number in present}
    return ids, [Segment(n, c, c > 0, is_crowd=n == crowd) for n, c in classes.items()]


def judge(truth: Spans, predicted: Spans, *, ground: bool = True, crowd: int = 0) -> ObjectErrors:
    (ids, segments), (guesses, found) = draw(truth, ground=ground, crowd=crowd), draw(predicted)
    return find_object_errors(measure_overlaps(ids, guesses), segments, found)


def list_kinds(errors: ObjectErrors) -> tuple[dict[int, str], dict[int, str]]:
    sides = errors.objects, errors.predictions
    objects, predictions = ({number: verdict.kind for number, verdict in side.items()} for side in sides)
    return objects, predictions


@pytest.mark.parametrize(
    ("truth", "predicted", "objects", "predictions"),
    [
        pytest.param({10: (0, 10)}, {11: (0, 10)}, {10: "found"}, {11: "right"}, id="same"),
        pytest.param({10: (0, 10)}, {}, {10: "missed"}, {}, id="nothing predicted"),
        pytest.param({}, {11: (0, 10)}, {}, {11: "invented"}, id="nothing there"),
        pytest.param({10: (0, 8)}, {11: (6, 14)}, {10: "missed"}, {11: "invented"}, id="a quarter is hardly"),
        pytest.param({10: (0, 8)}, {11: (5, 13)}, {10: "inexact"}, {11: "inexact"}, id="more than a quarter"),
        pytest.param({10: (0, 10)}, {20: (0, 10)}, {10: "wrong class"}, {20: "wrong class"}, id="other class"),
        pytest.param(
            {10: (0, 10), 11: (10, 20)}, {12: (0, 20)}, {10: "merged", 11: "merged"}, {12: "merging"}, id="merge"
        ),
        pytest.param(
            {10: (0, 10), 21: (10, 20)}, {12: (0, 20)}, {10: "merged", 21: "merged"}, {12: "merging"}, id="any class"
        ),
        pytest.param(
            {10: (0, 20), 11: (20, 24)}, {12: (0, 24)}, {10: "found", 11: "merged"}, {12: "right"}, id="swallowed"
        ),
        pytest.param(
            {10: (0, 10), 11: (10, 20)}, {12: (5, 15)}, {10: "inexact", 11: "inexact"}, {12: "inexact"}, id="halves"
        ),
        pytest.param({10: (0, 20)}, {11: (0, 10), 12: (10, 20)}, {10: "split"}, {11: "piece", 12: "piece"}, id="split"),
        pytest.param(
            {10: (0, 20)}, {11: (0, 10), 22: (10, 20)}, {10: "split"}, {11: "piece", 22: "piece"}, id="split, two classes"
        ),
        pytest.param(
            {10: (0, 20)}, {11: (0, 19), 12: (19, 20)}, {10: "found"}, {11: "right", 12: "piece"}, id="found and a speck"
        ),
        pytest.param(
            {10: (0, 40)}, {11: (0, 20), 12: (20, 23)}, {10: "inexact"}, {11: "inexact", 12: "inexact"}, id="speck, no piece"
        ),
        pytest.param(
            {10: (0, 20)}, {11: (0, 5), 12: (5, 10)}, {10: "inexact"}, {11: "inexact", 12: "inexact"}, id="half is not enough"
        ),
    ],
)  # fmt: skip
def test_verdicts(truth: Spans, predicted: Spans, objects: dict[int, str], predictions: dict[int, str]) -> None:
    assert list_kinds(judge(truth, predicted)) == (objects, predictions)


def test_merges_and_splits_name_all_that_take_part() -> None:
    errors = judge({10: (0, 20), 11: (20, 24), 12: (30, 40)}, {13: (0, 24), 14: (30, 36), 15: (36, 40)})
    assert errors.merges == {13: (10, 11)}
    assert errors.splits == {12: (14, 15)}
    assert list_kinds(errors)[0] == {10: "found", 11: "merged", 12: "found"}
    assert errors.objects[11].area == 4
    assert errors.objects[11].category_id == 1


def test_void_and_crowd_excuse() -> None:
    assert list_kinds(judge({}, {11: (0, 10)}, ground=False)) == ({}, {11: "excused"})
    errors = judge({10: (0, 10)}, {11: (0, 10), 22: (4, 9)}, crowd=10)
    assert list_kinds(errors) == ({}, {11: "excused", 22: "invented"})
    # Half of the prediction lies on void, which is not enough; of the rest all is one object.
    errors = judge({10: (0, 10), 1: (10, 30)}, {11: (0, 5), 12: (30, 40)}, ground=False)
    assert list_kinds(errors)[1] == {11: "inexact", 12: "excused"}


def make_image(number: int, truth: Spans, predicted: Spans) -> tuple[ScoredImage, dict[tuple[int, int], int]]:
    (ids, segments), (guesses, found) = draw(truth), draw(predicted)
    name = f"{number}.png"
    return ScoredImage(number, number, name, name, segments, found), measure_overlaps(ids, guesses)


def test_counts_add_up_and_the_worst_stay() -> None:
    counts = ErrorCounts(CATEGORIES, worst=2)
    pairs = [({10: (0, 10)}, {10: (0, 10)}), ({20: (0, 4)}, {}), ({10: (0, 10)}, {10: (0, 8)}), ({20: (0, 4)}, {})]
    for number, pair in enumerate(pairs):
        counts.update(*make_image(number, *pair))
    assert counts.objects.sum((0, 2)).tolist() == [2, 2, 0, 0, 0, 0]
    assert counts.objects.sum((1, 2)).tolist() == [0, 2, 2]
    assert counts.predictions.sum((0, 2)).tolist() == [2, 0, 0, 0, 0, 0]
    assert [entry.image.number for entry in counts.list_worst()] == [1, 3]
    assert counts.list_worst()[0].quality.n == 2
    assert [entry.errors.objects[20].kind for entry in counts.list_worst()] == ["missed", "missed"]


def test_no_image_is_remembered_if_none_is_wanted() -> None:
    counts = ErrorCounts(CATEGORIES, worst=0)
    counts.update(*make_image(0, {20: (0, 4)}, {}))
    assert counts.list_worst() == []
    assert counts.objects.sum() == 1
    with pytest.raises(InputError, match="starts at 0, not -1"):
        ErrorCounts(CATEGORIES, worst=-1)


def test_bins_follow_the_sizes() -> None:
    counts = ErrorCounts(CATEGORIES, worst=0)
    for size in range(1, 33):
        counts.update(*make_image(size, {10: (0, size)}, {}))
    bins = counts.choose_bins()
    assert bins[0].low == 1
    assert bins[-1].high is None
    assert all(before.high == after.low - 1 for before, after in pairwise(bins))
    numbers = [int(counts.objects[..., entry.steps].sum()) for entry in bins]
    assert sum(numbers) == 32
    assert len(numbers) == 4
    assert min(numbers) >= 4
    for entry, number in zip(bins, numbers, strict=True):
        assert number == sum(entry.low <= size <= (entry.high or size) for size in range(1, 33))


def test_equal_sizes_are_one_bin() -> None:
    sizes = np.zeros(128, np.int64)
    assert divide_sizes(sizes, 4) == []
    sizes[12] = 100
    (everything,) = divide_sizes(sizes, 4)
    assert (everything.low, everything.high) == (1, None)
