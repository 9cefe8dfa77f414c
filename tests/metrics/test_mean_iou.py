"""mIoU, and IoU and iIoU of Cityscapes against the official evaluator's numbers and hand-made cases."""

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from axial_deeplab.data.cityscapes_scoring import load_cityscapes_scoring, split_instance_ids
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.cityscapes_iou import CityscapesIoU, IoU
from axial_deeplab.metrics.mean_iou import MeanIoU
from axial_deeplab.panoptic.labels import to_semantic
from axial_deeplab.records import IGNORE_LABEL, Category, PanopticPrediction, Segment
from tests.metrics.evaluator_record import CATEGORIES, POSITION, SETS, TRAIN_ID, fill_nan, load_record
from tests.oracles.street_scenes import Scene, make_scenes

THREE = (Category(3, "person", True), Category(7, "sky", False), Category(9, "sea", False))
PERSON, CAR, ROAD = (POSITION[label] for label in (24, 26, 7))


def same(value: float) -> Any:
    return pytest.approx(value, rel=1e-11, abs=1e-12, nan_ok=True)


def score_labels(scenes: list[Scene]) -> MeanIoU:
    metric = MeanIoU(CATEGORIES)
    for scene in scenes:
        metric.update(torch.from_numpy(TRAIN_ID[scene.labels]), TRAIN_ID[scene.predicted_labels])
    return metric


def score_scenes(scenes: list[Scene]) -> CityscapesIoU:
    metric = CityscapesIoU(CATEGORIES)
    for scene in scenes:
        truth = split_instance_ids(scene.instance_ids, CATEGORIES)
        metric.update(truth.panoptic_map, truth.segments, torch.from_numpy(TRAIN_ID[scene.predicted_labels]))
    return metric


@pytest.mark.parametrize("name", SETS)
def test_equals_the_official_evaluator(name: str) -> None:
    scenes, record = load_record(name)
    expected = record["pixels"]
    plain, report = score_labels(scenes).compute(), score_scenes(scenes).compute()
    assert plain.miou == same(expected["averageScoreClasses"])
    assert report.classes.iou == same(expected["averageScoreClasses"])
    assert report.classes.iiou == same(expected["averageScoreInstClasses"])
    assert report.groups.iou == same(expected["averageScoreCategories"])
    assert report.groups.iiou == same(expected["averageScoreInstCategories"])
    for category in CATEGORIES:
        assert plain.per_class[category.id] == same(fill_nan(expected["classScores"][category.name]))
        assert report.per_class[category.id].iou == same(fill_nan(expected["classScores"][category.name]))
        assert report.per_class[category.id].iiou == same(fill_nan(expected["classInstScores"][category.name]))
    for group, figures in report.per_group.items():
        assert figures.iou == same(fill_nan(expected["categoryScores"][group]))
        assert figures.iiou == same(fill_nan(expected["categoryInstScores"][group]))
    assert set(report.per_group) == set(expected["categoryScores"]) - {"void"}


@pytest.mark.parametrize("score", [score_labels, score_scenes])
def test_merged_shares_equal_one_pass(score: Any) -> None:
    scenes = make_scenes(9, 40)
    shares = [score(scenes[first::3]) for first in (2, 0, 1)]
    for share in shares[1:]:
        shares[0].merge(pickle.loads(pickle.dumps(share)))
    assert json.dumps(shares[0].compute().to_json()) == json.dumps(score(scenes).compute().to_json())
    with pytest.raises(InputError, match="different classes"):
        shares[0].merge(type(shares[0])(CATEGORIES[:5]))


def test_mean_iou_by_hand() -> None:
    metric = MeanIoU(THREE)
    metric.update(np.array([[0, 0, 1, IGNORE_LABEL]]), np.array([[0, IGNORE_LABEL, 0, 2]], np.uint8))
    report = metric.compute()
    assert report.per_class == {3: pytest.approx(1 / 3), 7: 0.0, 9: same(math.nan)}  # class 9 only where it is ignored
    assert (report.miou, report.pixel_accuracy) == (pytest.approx(1 / 6), pytest.approx(1 / 3))
    assert metric.confusion.tolist() == [[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert report.to_json()["per_class"] == {"3": pytest.approx(1 / 3), "7": 0.0, "9": None}


def test_nothing_counted_is_nan() -> None:
    assert MeanIoU(THREE).compute().to_json()["mIoU"] is None
    report = CityscapesIoU(CATEGORIES).compute()
    assert report.to_json()["classes"] == {"IoU": None, "iIoU": None}


@pytest.mark.parametrize("wrong", [np.array([[3]]), np.array([[-1]]), np.array([[256]])])
def test_mean_iou_refuses_unknown_classes(wrong: np.ndarray) -> None:
    metric = MeanIoU(THREE)
    for pair in ((wrong, np.array([[0]])), (np.array([[0]]), wrong)):
        with pytest.raises(InputError, match=r"neither 0 \.\. 2 nor 255|outside of 0 \.\. "):
            metric.update(*pair)
    with pytest.raises(InputError, match="differ in size"):
        metric.update(np.zeros((1, 2), int), np.zeros((2, 1), int))
    assert metric.confusion.sum() == 0


def test_small_instances_weigh_as_much_as_large_ones() -> None:
    """A person of 9 pixels is found and one of 1 missed: IoU 9/11, iIoU half of what it could be."""
    truth_map = torch.tensor([[1] * 9 + [2, 3]], dtype=torch.int32)
    segments = [Segment(1, PERSON, True), Segment(2, PERSON, True), Segment(3, ROAD, False)]
    predicted = torch.tensor([[PERSON] * 9 + [CAR, PERSON]], dtype=torch.uint8)
    metric = CityscapesIoU(CATEGORIES)
    metric.update(truth_map, segments, predicted)
    report = metric.compute()
    area = load_cityscapes_scoring().mean_instance_area["person"]
    assert report.per_class[24] == IoU(same(9 / 11), same(area / (2 * area + 1)))
    assert report.per_class[7] == IoU(0.0, same(math.nan))
    assert report.per_group["human"] == report.per_class[24]


def test_crowd_counts_for_iou_alone_and_groups_forgive_confusion() -> None:
    truth_map = np.array([[1, 1, 2, 2]], np.int32)
    segments = [Segment(1, PERSON, True, is_crowd=True), Segment(2, PERSON, True)]
    prediction = PanopticPrediction(
        torch.tensor([[5, 5, 6, 6]]), [Segment(5, CAR, True), Segment(6, POSITION[25], True)]
    )
    metric = CityscapesIoU(CATEGORIES)
    metric.update(truth_map, segments, to_semantic(prediction))
    report = metric.compute()
    assert report.per_class[24] == IoU(0.0, 0.0)
    assert report.per_group["human"] == IoU(0.5, 1.0)


def test_cityscapes_iou_refuses_what_it_does_not_know() -> None:
    with pytest.raises(InputError, match="no class 'sea'"):
        CityscapesIoU(THREE)
    metric = CityscapesIoU(CATEGORIES)
    with pytest.raises(InputError, match=r"classes \[19\] outside"):
        metric.update(np.array([[1]]), [Segment(1, 0, False)], np.array([[19]]))
    with pytest.raises(InputError, match="not in the list"):
        metric.update(np.array([[1]]), [], np.array([[0]]))
    assert metric.compute().to_json()["classes"]["IoU"] is None


def test_instance_ids_are_split() -> None:
    truth = split_instance_ids(np.array([[0, 7, 26, 26001], [29, 29001, 4, 26002]], np.uint16), CATEGORIES)
    assert truth.panoptic_map.tolist() == [[0, 7, 26, 26001], [0, 0, 0, 26002]]
    assert truth.excused.tolist() == [[True, False, False, False], [True, False, True, False]]
    assert truth.segments == [
        Segment(7, ROAD, False, 1.0, 1, False),
        Segment(26, CAR, True, 1.0, 1, True),
        Segment(26001, CAR, True, 1.0, 1, False),
        Segment(26002, CAR, True, 1.0, 1, False),
    ]
    for wrong in (-1, 65536):
        with pytest.raises(InputError, match=r"instance ids are 0 \.\. 65535"):
            split_instance_ids(np.array([[wrong]]), CATEGORIES)
