"""Files of every form score as the official evaluators said, in one process and in two."""

import json
import math
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.cli import main
from axial_deeplab.data.files import write_json
from axial_deeplab.data.layouts.mapillary import read_classes
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.data.scenes import SCENE_CATEGORIES, make_scene
from axial_deeplab.data.submissions import SUBMISSIONS, WRITTEN
from axial_deeplab.errors import InputError
from axial_deeplab.metrics import task_scores
from axial_deeplab.metrics.average_precision import PrecisionReport
from axial_deeplab.metrics.coco_average_precision import CocoPrecisionReport
from axial_deeplab.metrics.panoptic_quality import compute_panoptic_quality
from axial_deeplab.metrics.score_files import score_files
from axial_deeplab.metrics.task_scores import TaskScores, measure_maps
from axial_deeplab.records import PanopticPrediction, Segment
from tests.data.layout_sources import write_mapillary
from tests.metrics.evaluator_record import fill_nan, load_record
from tests.oracles.street_scenes import Scene, make_scenes
from tests.street_predictions import CATEGORIES, list_coco_truth, predict_scene

needs_evaluator = pytest.mark.skipif(find_spec("faster_coco_eval") is None, reason="needs the extra 'eval'")


def name(number: int) -> str:
    return f"town_{number:06}_000019"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Write the recorded scenes and predictions as the evaluators got them."""
    root = tmp_path_factory.mktemp("recorded")
    scenes, record = load_record("few")
    for folder in ("gtFine/val/town", "instance/masks", "semantic"):
        (root / folder).mkdir(parents=True)
    for number, scene in enumerate(scenes):
        write_truth(root / "gtFine" / "val" / "town", number, scene)
        Image.fromarray(scene.predicted_labels).save(root / "semantic" / f"{name(number)}_anything.png")
        lines = []
        for position, (label, score, mask) in enumerate(scene.instances):
            file = f"masks/{name(number)}_{position}.png"
            Image.fromarray(mask).save(root / "instance" / file)  # of one bit
            lines.append(f"{file} {label} {score!r}\n")
        lines.append(f"{file} 29 0.9\n")  # a label that is not scored
        (root / "instance" / f"{name(number)}_pred.txt").write_text("".join(lines))
    return root, record


def write_truth(folder: Path, number: int, scene: Scene) -> None:
    path = folder / f"{name(number)}_gtFine_instanceIds.png"
    Image.fromarray(scene.instance_ids.astype(np.uint16)).save(path)


def test_instances_of_cityscapes(recorded: tuple[Path, dict[str, Any]]) -> None:
    root, record = recorded
    report = score_files(root / "gtFine", root / "instance").instance
    assert isinstance(report, PrecisionReport)
    assert report.ap == pytest.approx(record["instances"]["allAp"], abs=1e-12)
    assert report.ap50 == pytest.approx(record["instances"]["allAp50%"], abs=1e-12)


def test_semantic_of_cityscapes(recorded: tuple[Path, dict[str, Any]]) -> None:
    root, record = recorded
    report = score_files(root / "gtFine" / "val", root / "semantic", tasks=["semantic"])
    assert report.semantic is not None
    assert report.cityscapes_iou is not None
    expected = {key: fill_nan(value) for key, value in record["pixels"].items() if not isinstance(value, dict)}
    assert report.semantic.miou == pytest.approx(expected["averageScoreClasses"], abs=1e-12)
    assert report.cityscapes_iou.classes.iiou == pytest.approx(expected["averageScoreInstClasses"], abs=1e-11)
    assert report.cityscapes_iou.groups.iou == pytest.approx(expected["averageScoreCategories"], abs=1e-12)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write street scenes, and a prediction of each in all forms of Cityscapes."""
    root = tmp_path_factory.mktemp("street")
    folder = root / "gtFine" / "val" / "town"
    folder.mkdir(parents=True)
    forms = [form for key, form in SUBMISSIONS.items() if key.startswith("cityscapes")]
    entered = [form.open(root, CATEGORIES) for form in forms]
    writers = [context.__enter__() for context in entered]
    for number, scene in enumerate(make_scenes(4, 60)):
        write_truth(folder, number, scene)
        for form, writer in zip(forms, writers, strict=True):
            identity = form.identify(Path(f"x/{name(number)}_leftImg8bit.png"), "other")
            writer.add(*identity, predict_scene(scene, number))
    for context in entered:
        context.__exit__(None, None, None)
    return root


def test_server_files_of_cityscapes_score_like_the_prediction(street: Path) -> None:
    from axial_deeplab.data.cityscapes_scoring import split_instance_ids
    from axial_deeplab.metrics.average_precision import CityscapesAveragePrecision

    scores, precision = TaskScores(CATEGORIES), CityscapesAveragePrecision(CATEGORIES)
    with PanopticWriter(street / "truth.json", CATEGORIES) as writer:
        for number, scene in enumerate(make_scenes(4, 60)):
            truth, guess = split_instance_ids(scene.instance_ids, CATEGORIES), predict_scene(scene, number)
            measure = measure_maps(truth.panoptic_map, guess.panoptic_map.numpy(), None)
            scores.update(number, measure, truth.segments, guess.segments)
            precision.update(
                truth.panoptic_map, truth.segments, guess.panoptic_map, guess.segments, excused=truth.excused
            )
            writer.add(name(number), "x.png" if not number else f"{number}.png", _as_prediction(truth))
    report = scores.compute()
    scored = score_files(street / "truth.json", street / "cityscapes-panoptic" / "panoptic.json")
    assert same(scored.to_json(), report.to_json())
    semantic = score_files(street / "gtFine", street / "cityscapes-semantic")
    assert same(semantic.to_json(), {key: report.to_json()[key] for key in ("semantic", "cityscapes_iou")})
    instances = score_files(street / "gtFine", street / "cityscapes-instance").instance
    assert instances is not None
    assert same(instances.to_json(), precision.compute().to_json())


def _as_prediction(truth: Any) -> PanopticPrediction:
    import torch

    return PanopticPrediction(torch.from_numpy(truth.panoptic_map), truth.segments)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write five procedural scenes as truth, and predictions in the forms to work with."""
    root = tmp_path_factory.mktemp("scenes")
    random = np.random.default_rng(0)
    contexts = [form.open(root, SCENE_CATEGORIES) for form in WRITTEN.values()]
    truth_writer = PanopticWriter(root / "truth.json", SCENE_CATEGORIES)
    writers = [context.__enter__() for context in contexts]
    for seed in (4, 1, 3, 0, 2):
        record = make_scene(seed, 64)
        truth_writer.add(f"scene{seed}", f"{seed}.png", PanopticPrediction(record.panoptic_map, list(record.segments)))
        segments = [segment._replace(score=float(random.random())) for segment in record.segments]
        guess = PanopticPrediction(record.panoptic_map.roll(2, 1), segments)
        for writer, image_id in zip(writers, (f"scene{seed}", f"scene{seed}", seed), strict=True):
            writer.add(image_id, f"{seed}.png", guess)
    for context in contexts:
        context.__exit__(None, None, None)
    truth_writer.close()
    return root


@needs_evaluator
def test_all_forms_of_one_prediction_agree(scenes: Path) -> None:
    report = score_files(scenes / "truth.json", scenes / "predictions.json")
    assert report.panoptic == compute_panoptic_quality(scenes / "truth.json", scenes / "predictions.json")
    assert 0.3 < report.panoptic.all.pq < 1
    assert score_files(scenes / "truth.json", scenes / "semantic").semantic == report.semantic
    instances = score_files(scenes / "truth.json", scenes / "instances.json").instance
    assert isinstance(instances, CocoPrecisionReport)
    assert same(instances.to_json(), report.to_json()["instance"])
    assert 0.1 < instances.figures["AP"] < 1
    assert "AP50" in report.format_table()


def same(one: Any, other: Any) -> bool:
    return json.dumps(one) == json.dumps(other)


@needs_evaluator
def test_processes_change_no_digit(scenes: Path) -> None:
    files = scenes / "truth.json", scenes / "predictions.json"
    assert same(*(score_files(*files, processes=processes).to_json() for processes in (1, 2)))


@needs_evaluator
def test_merged_shares_change_no_digit() -> None:
    shares = [TaskScores(SCENE_CATEGORIES) for _ in range(4)]
    for seed in range(9):
        record = make_scene(seed, 64)
        guess = record.panoptic_map.roll(seed % 3, 0).numpy()
        for scores in (shares[3], shares[seed * 7 % 3]):
            things = scores.choose_things(record.segments, record.segments)
            measure = measure_maps(record.panoptic_map.numpy(), guess, things)
            scores.update(seed, measure, record.segments, record.segments)
    whole = shares.pop()
    merged = TaskScores(SCENE_CATEGORIES)
    for share in shares[::-1]:
        merged.merge(share)
    assert same(merged.compute().to_json(), whole.compute().to_json())
    with pytest.raises(InputError, match="cannot be merged"):
        merged.merge(TaskScores(SCENE_CATEGORIES, ["panoptic"]))


@needs_evaluator
def test_instances_file_as_truth(tmp_path: Path) -> None:
    """Of equal content: masks as run lengths, and a truth without polygons."""
    truth = list_coco_truth(make_scenes(4, 60))
    truth["annotations"] = [entry for entry in truth["annotations"] if isinstance(entry["segmentation"], dict)]
    write_json(tmp_path / "instances.json", truth)
    results = [
        {key: entry[key] for key in ("image_id", "category_id", "segmentation")} | {"score": 0.5}
        for entry in truth["annotations"]
        if not entry["iscrowd"]
    ]
    write_json(tmp_path / "results.json", results)
    report = score_files(tmp_path / "instances.json", tmp_path / "results.json").instance
    assert isinstance(report, CocoPrecisionReport)
    assert report.figures["AP"] == pytest.approx(1.0)
    write_json(tmp_path / "results.json", results[::2])
    half = score_files(tmp_path / "instances.json", tmp_path / "results.json").instance
    assert isinstance(half, CocoPrecisionReport)
    assert 0.2 < half.figures["AP"] < 0.8
    write_json(tmp_path / "results.json", [])
    none = score_files(tmp_path / "instances.json", tmp_path / "results.json").instance
    assert isinstance(none, CocoPrecisionReport)
    assert none.figures["AP"] == 0
    assert math.isnan(none.per_class[26]) or none.per_class[26] == 0


BAD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "class": (lambda entry: entry.update(category_id=77), "result 1: the category id 77"),
    "image": (lambda entry: entry.update(image_id="absent"), "'absent' is not in"),
    "score": (lambda entry: entry.pop("score"), "result 1: the key 'score' is missing"),
    "runs": (lambda entry: entry["segmentation"].update(counts="11"), "do not add up to 64×64"),
    "text": (lambda entry: entry["segmentation"].update(counts="~"), "no character of compressed run lengths"),
    "size": (lambda entry: entry["segmentation"].update(size=[64]), "'size' cannot be"),
    "other": (lambda entry: entry.update(segmentation={"size": [2, 2], "counts": [4]}), "a mask has"),
}


@needs_evaluator
@pytest.mark.parametrize("change", BAD)
def test_bad_results_are_named(scenes: Path, tmp_path: Path, change: str) -> None:
    results = json.loads((scenes / "instances.json").read_text())
    BAD[change][0](results[1])
    write_json(tmp_path / "bad.json", results)
    with pytest.raises(InputError, match=r"bad\.json") as caught:
        score_files(scenes / "truth.json", tmp_path / "bad.json")
    assert BAD[change][1] in str(caught.value)


def test_forms_that_do_not_fit_are_refused(scenes: Path, street: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of the task semantic alone"):
        score_files(scenes / "truth.json", scenes / "semantic", tasks=["panoptic"])
    with pytest.raises(InputError, match="no files town_000000_000019"):
        score_files(street / "gtFine", tmp_path)
    with pytest.raises(InputError, match="holds no"):
        score_files(tmp_path, tmp_path)
    with pytest.raises(InputError, match="processes starts at 1"):
        score_files(scenes / "truth.json", scenes / "predictions.json", processes=0)
    text = tmp_path / f"{name(0)}_pred.txt"
    text.write_text("mask.png 24\n")
    for number in range(1, 4):
        (tmp_path / f"{name(number)}_pred.txt").write_text("")
    with pytest.raises(InputError, match="line 1 must be"):
        score_files(street / "gtFine", tmp_path)


def test_instances_without_scores_are_not_ranked(scenes: Path) -> None:
    assert score_files(scenes / "truth.json", scenes / "truth.json").instance is None


def test_classes_of_mapillary_that_are_not_evaluated_are_void(tmp_path: Path) -> None:
    """A bird that covers the true bird and all of an unlabeled region is right, in every form of the prediction."""
    root = write_mapillary(tmp_path, "2.0")
    truth = root / "validation" / "v2.0" / "panoptic" / "panoptic_2020.json"
    categories = read_classes(root / "config_v2.0.json").categories
    ids = torch.zeros(12, 16, dtype=torch.int32)
    ids[:, 4:8], ids[:, 12:], ids[:, 8:12] = 1, 1, 2
    curb = next(position for position, category in enumerate(categories) if category.name == "Curb")
    guess = PanopticPrediction(ids, [Segment(1, 0, True, 0.5), Segment(2, curb, False, 0.5)])
    for form in WRITTEN.values():
        with form.open(tmp_path, categories) as writer:
            writer.add("c-_x", "c-_x.jpg", guess)
    report = score_files(truth, tmp_path / "predictions.json", tasks=["panoptic", "semantic"])
    assert report.panoptic == compute_panoptic_quality(truth, tmp_path / "predictions.json")
    assert (report.panoptic.all.pq, report.panoptic.all.n) == (1, 2)
    assert report.semantic is not None
    assert report.semantic.miou == 1
    assert score_files(truth, tmp_path / "semantic").semantic == report.semantic
    files = ["--ground-truth", str(truth), "--predictions", str(tmp_path / "predictions.json")]
    assert main(["score", *files, "--tasks", "panoptic", "--html", str(tmp_path / "report.html")]) == 0
    (root / "config_v2.0.json").unlink()
    with pytest.raises(InputError, match=r"config_v2\.0\.json cannot be read"):
        score_files(truth, tmp_path / "predictions.json")


def test_missing_evaluator_is_said_or_refused(
    scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(task_scores, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    files = ["--ground-truth", str(scenes / "truth.json"), "--predictions", str(scenes / "predictions.json")]
    assert main(["score", *files]) == 0
    assert capsys.readouterr().err.splitlines() == [task_scores.explain_left_out(SCENE_CATEGORIES)]
    assert main(["score", *files, "--tasks", "panoptic"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["score", *files, "--tasks", "panoptic", "instance"]) == 2
    assert "pip install 'axial-deeplab[eval]'" in capsys.readouterr().err
