"""AP of instances by the rules of COCO against pycocotools' numbers; needs faster-coco-eval."""

import json
import math
import pickle
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from axial_deeplab.data.cityscapes_scoring import split_instance_ids
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.coco_average_precision import CocoAveragePrecision
from axial_deeplab.panoptic.labels import to_instances
from axial_deeplab.records import PanopticPrediction, Segment
from tests.metrics.evaluator_record import CATEGORIES, SETS, list_instances, load_record
from tests.oracles.street_scenes import HEIGHT, WIDTH, Scene, make_scenes

SIZE = (HEIGHT, WIDTH)


def list_truth(scene: Scene) -> list[tuple[Segment, torch.Tensor]]:
    truth = split_instance_ids(scene.instance_ids, CATEGORIES)
    return to_instances(PanopticPrediction(torch.from_numpy(truth.panoptic_map), truth.segments))


def score_scenes(scenes: dict[int, Scene]) -> CocoAveragePrecision:
    metric = CocoAveragePrecision(CATEGORIES)
    for image_id, scene in scenes.items():
        metric.update(image_id, list_truth(scene), list_instances(scene), size=SIZE)
    return metric


needs_evaluator = pytest.mark.skipif(find_spec("faster_coco_eval") is None, reason="needs the extra 'eval'")


@needs_evaluator
@pytest.mark.parametrize("name", SETS)
def test_equals_pycocotools(name: str) -> None:
    scenes, record = load_record(name)
    report = score_scenes(dict(enumerate(scenes))).compute()
    expected = [math.nan if value < 0 else value for value in record["coco"]]
    assert list(report.figures.values()) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    defined = [ap for ap in report.per_class.values() if not math.isnan(ap)]
    assert sum(defined) / len(defined) == pytest.approx(report.figures["AP"], abs=1e-12)


@needs_evaluator
def test_merged_shares_equal_one_pass() -> None:
    scenes = dict(enumerate(make_scenes(6, 40)))
    shares = [score_scenes({n: scene for n, scene in scenes.items() if n % 3 == part}) for part in (2, 0, 1)]
    for share in shares[1:]:
        shares[0].merge(pickle.loads(pickle.dumps(share)))
    whole = json.dumps(score_scenes(scenes).compute().to_json())
    assert json.dumps(shares[0].compute().to_json()) == whole
    assert json.dumps(shares[0].compute().to_json()) == whole  # computing leaves no trace
    with pytest.raises(InputError, match="counted twice"):
        shares[0].merge(score_scenes({0: scenes[0]}))


@needs_evaluator
def test_nothing_found_and_nothing_to_find() -> None:
    scene = make_scenes(1, 5)[0]
    metric = CocoAveragePrecision(CATEGORIES)
    assert metric.compute().to_json()["AP"] is None
    metric.update(1, [], list_instances(scene), size=SIZE)
    assert metric.compute().to_json()["AP"] is None
    metric.update(2, list_truth(scene), [], size=SIZE)
    assert metric.compute().figures["AP"] == 0.0


@needs_evaluator
def test_update_refuses_what_does_not_agree() -> None:
    metric = CocoAveragePrecision(CATEGORIES)
    mask = np.ones(SIZE, bool)
    for segment, shape, message in (
        (Segment(1, 19, True), SIZE, "class 19 of 19"),
        (Segment(1, 11, True), (HEIGHT, 3), "the image has"),
        (Segment(1, 11, True, math.inf), SIZE, "the score inf"),
    ):
        with pytest.raises(InputError, match=message):
            metric.update(1, [], [(segment, mask[:, : shape[1]])], size=SIZE)
    metric.update(1, [], [], size=SIZE)
    with pytest.raises(InputError, match="came before"):
        metric.update(1, [], [], size=SIZE)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(InputError, match=r"axial-deeplab\[eval\]"):
        CocoAveragePrecision(CATEGORIES)
