"""AP of instances by the rules of Cityscapes against the official evaluator's numbers and hand-made cases."""

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from axial_deeplab.data.cityscapes_scoring import split_instance_ids
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.average_precision import CityscapesAveragePrecision
from axial_deeplab.metrics.precision_curve import IGNORED, RIGHT, WRONG, measure_precision
from axial_deeplab.panoptic.labels import to_instances
from axial_deeplab.records import Category, PanopticPrediction, Segment
from tests.metrics.evaluator_record import CATEGORIES, SETS, fill_nan, list_instances, load_record
from tests.oracles.street_scenes import Scene, make_scenes

TWO = (Category(24, "person", True), Category(7, "road", False))
SIDE = 20
PIXELS = SIDE * SIDE


def same(value: float) -> Any:
    return pytest.approx(value, rel=1e-11, abs=1e-12, nan_ok=True)


def score_scenes(scenes: list[Scene]) -> CityscapesAveragePrecision:
    metric = CityscapesAveragePrecision(CATEGORIES)
    for scene in scenes:
        truth = split_instance_ids(scene.instance_ids, CATEGORIES)
        metric.update_masks(truth.panoptic_map, truth.segments, list_instances(scene), excused=truth.excused)
    return metric


@pytest.mark.parametrize("name", SETS)
def test_equals_the_official_evaluator(name: str) -> None:
    scenes, record = load_record(name)
    report = score_scenes(scenes).compute()
    assert (report.ap, report.ap50) == (same(record["instances"]["allAp"]), same(record["instances"]["allAp50%"]))
    by_name = {category.name: report.per_class[category.id] for category in CATEGORIES if category.is_thing}
    assert set(by_name) == set(record["instances"]["classes"])
    for category, expected in record["instances"]["classes"].items():
        assert by_name[category].ap == same(fill_nan(expected["ap"]))
        assert by_name[category].ap50 == same(fill_nan(expected["ap50%"]))


def test_merged_shares_equal_one_pass() -> None:
    scenes = make_scenes(9, 40)
    shares = [score_scenes(scenes[first::3]) for first in (2, 0, 1)]
    for share in shares[1:]:
        shares[0].merge(pickle.loads(pickle.dumps(share)))
    assert json.dumps(shares[0].compute().to_json()) == json.dumps(score_scenes(scenes).compute().to_json())
    with pytest.raises(InputError, match="different classes"):
        shares[0].merge(CityscapesAveragePrecision(CATEGORIES, min_area=7))


def test_a_map_and_its_masks_score_alike() -> None:
    by_map, by_masks = CityscapesAveragePrecision(CATEGORIES), CityscapesAveragePrecision(CATEGORIES)
    for scene in make_scenes(6, 60):
        truth = split_instance_ids(scene.instance_ids, CATEGORIES)
        other = split_instance_ids(np.roll(scene.instance_ids, (1, -1), (0, 1)), CATEGORIES)
        guesses = [segment._replace(score=(segment.id % 7) / 8, is_crowd=False, area=0) for segment in other.segments]
        prediction = PanopticPrediction(torch.from_numpy(other.panoptic_map), guesses)
        by_map.update(truth.panoptic_map, truth.segments, prediction.panoptic_map, guesses)
        by_masks.update_masks(truth.panoptic_map, truth.segments, to_instances(prediction))
        with_mask = CityscapesAveragePrecision(CATEGORIES)
        with_mask.update(
            truth.panoptic_map, truth.segments, other.panoptic_map, guesses, excused=truth.panoptic_map == 0
        )
        without = CityscapesAveragePrecision(CATEGORIES)
        without.update(truth.panoptic_map, truth.segments, other.panoptic_map, guesses)
        assert with_mask._verdicts == without._verdicts
    assert by_map.compute().to_json() == by_masks.compute().to_json()
    assert 0.1 < by_map.compute().ap < 0.9


def test_memory_grows_with_predictions_alone() -> None:
    scene = make_scenes(1, 5)
    metric = score_scenes(scene)
    size = len(pickle.dumps(metric))
    for _ in range(9):
        metric.merge(score_scenes(scene))
    predictions = 9 * len(scene[0].instances)
    assert len(pickle.dumps(metric)) - size <= 18 * predictions + 200


def make_truth(*columns: int) -> np.ndarray:
    """Return a map of SIDE x SIDE in which segment n takes the n-th number of columns, from the left; the rest is void."""
    row = np.repeat(np.arange(1, len(columns) + 1), columns)
    return np.tile(np.append(row, np.zeros(SIDE - len(row), int)), (SIDE, 1))


def band(first: int, last: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, first:last] = True
    return mask


def score(
    truth_map: np.ndarray, segments: list[Segment], *found: tuple[float, np.ndarray], min_area: int = 100
) -> tuple[float, float]:
    metric = CityscapesAveragePrecision(TWO, min_area=min_area)
    metric.update_masks(truth_map, segments, [(Segment(1, 0, True, value), mask) for value, mask in found])
    report = metric.compute()
    return report.ap, report.ap50


PERSON = Segment(1, 0, True)
ROAD = Segment(2, 1, False)


def test_perfect_and_missing() -> None:
    assert score(make_truth(10, 10), [PERSON, ROAD], (0.3, band(0, 10))) == (same(1.0), same(1.0))
    assert score(make_truth(10, 10), [PERSON, ROAD]) == (0.0, 0.0)
    assert score(make_truth(20), [Segment(1, 1, False)], (0.3, band(0, 10))) == (same(math.nan), same(math.nan))


def test_an_overlap_must_exceed_the_threshold() -> None:
    truth = make_truth(10, 10)
    assert score(truth, [PERSON, ROAD], (0.5, band(0, 5)))[1] == 0.0  # IoU 0.5
    assert score(truth, [PERSON, ROAD], (0.5, band(0, 6))) == (same(0.2), same(1.0))  # 0.6 exceeds 0.50 and 0.55


def test_the_second_prediction_of_an_instance_is_wrong() -> None:
    both = [(0.9, band(0, 10)), (0.8, band(0, 10))]
    assert score(make_truth(10, 10), [PERSON, ROAD], *both)[1] == same(1.0)  # below the full recall: no loss
    better_late = [(0.8, band(0, 10)), (0.9, band(0, 9))]
    assert score(make_truth(10, 10), [PERSON, ROAD], *better_late) == (same((8 + 2 * 0.25) / 10), same(1.0))


@pytest.mark.parametrize(
    ("truth", "segments"),
    [
        (make_truth(10), [PERSON]),  # void under the second
        (make_truth(10, 10), [PERSON, Segment(2, 0, True, is_crowd=True)]),
        (make_truth(10, 4, 4), [PERSON, Segment(2, 0, True), Segment(3, 0, True)]),  # two of 80 pixels
    ],
)
def test_void_crowd_and_small_instances_excuse(truth: np.ndarray, segments: list[Segment]) -> None:
    found = [(0.5, band(0, 10)), (0.9, band(10, 18))]
    assert score(truth, segments, *found)[1] == same(1.0)
    road = np.where(truth == 1, 1, 2)
    assert score(road, [PERSON, ROAD], *found)[1] == same(0.25)  # precision 0, then 1/2 at full recall


def test_small_instances_are_not_asked_for() -> None:
    truth = make_truth(10, 4)
    segments = [PERSON, Segment(2, 0, True)]
    assert score(truth, segments, (0.5, band(0, 10)))[1] == same(1.0)
    assert score(truth, segments, (0.5, band(0, 10)), min_area=80)[1] == same(0.5)


def test_predictions_that_are_all_excused_find_nothing() -> None:
    assert score(make_truth(10), [PERSON], (0.5, band(12, 18))) == (0.0, 0.0)


def test_empty_masks_and_stuff_are_passed_over() -> None:
    metric = CityscapesAveragePrecision(TWO)
    masks = [(PERSON, band(0, 0)), (Segment(3, 1, False), band(0, 10)), (PERSON, torch.from_numpy(band(0, 10)))]
    metric.update_masks(make_truth(10, 10), [PERSON, ROAD], masks)
    assert metric.compute().per_class == {24: (same(1.0), same(1.0), 1, 1)}


def test_curve_by_hand() -> None:
    """Precision 1/1, 1/2, 2/3 at recall 1/4, 1/4, 2/4, with one prediction that does not count."""
    scores = np.array([0.2, 0.9, 0.5, 0.7])
    verdicts = np.array([RIGHT, RIGHT, WRONG, IGNORED], np.uint8)
    assert measure_precision(scores, verdicts, 4) == same(0.25 * 1 + 0.25 * (1 / 2 + 2 / 3) / 2)
    tied = np.array([0.5, 0.5, 0.5, 0.5])
    assert measure_precision(tied, verdicts, 4) == same(0.5 * (1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        (PERSON._replace(score=math.nan), "score is NaN"),
        (PERSON._replace(category_id=2), "class 2 of 2"),
        (PERSON._replace(id=9), "in the map but not in the list"),
    ],
)
def test_update_refuses_what_does_not_agree(guess: Segment, message: str) -> None:
    metric = CityscapesAveragePrecision(TWO)
    truth = make_truth(20)
    with pytest.raises(InputError, match=message):
        metric.update(truth, [PERSON], truth, [guess])
    with pytest.raises(InputError, match="differ in size"):
        metric.update(truth, [PERSON], truth[:5], [PERSON])
    with pytest.raises(InputError, match="truth: ids"):
        metric.update_masks(truth, [], [])
    assert metric.compute().to_json()["AP"] is None
