"""Evaluation writes what it scored, in a form that scores the same from disk."""

import json
from pathlib import Path

import pytest

from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.files import write_png
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.data.scenes import SCENE_CATEGORIES, SceneDataset
from axial_deeplab.errors import InputError
from axial_deeplab.evaluate import evaluate, evaluate_tasks, match_categories
from axial_deeplab.metrics.panoptic_quality import compute_panoptic_quality
from axial_deeplab.metrics.score_files import score_files
from axial_deeplab.predict import Predictor
from axial_deeplab.records import Category, PanopticPrediction
from tests.test_predict import RedIsBox, make_config


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write three scenes as a dataset, its classes in another order than the network's."""
    order = (5, 4, 3, 2, 1, 0)
    with PanopticWriter(tmp_path / "annotations" / "panoptic_val.json", SCENE_CATEGORIES[::-1]) as writer:
        for record in map(SceneDataset(3, size=64).__getitem__, range(3)):
            segments = [segment._replace(category_id=order[segment.category_id]) for segment in record.segments]
            writer.add(record.image_id, record.file_name, PanopticPrediction(record.panoptic_map, segments))
            write_png(tmp_path / "images" / "val" / record.file_name, record.image.permute(1, 2, 0).numpy())
    return tmp_path


def test_report_equals_the_score_of_the_files(root: Path, tmp_path: Path) -> None:
    report = evaluate(Predictor(RedIsBox(), make_config(), "cpu"), CocoPanopticDataset(root, "val"), tmp_path / "out")
    scored = compute_panoptic_quality(root / "annotations" / "panoptic_val.json", tmp_path / "out" / "predictions.json")
    assert report == scored
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report.to_json()
    # The network calls everything sky, which is class 0 of its own and class 5 of the dataset, with the dataset id 0.
    assert [report.per_class[number].fp for number in (0, 5)] == [3, 0]


def test_perfect_predictions_score_100(root: Path, tmp_path: Path) -> None:
    dataset = CocoPanopticDataset(root, "val")
    truths = iter([PanopticPrediction(dataset[i].panoptic_map, list(dataset[i].segments)) for i in range(3)])
    predictor = Predictor(RedIsBox(), make_config(), "cpu")
    order = [5, 4, 3, 2, 1, 0]

    class Oracle:
        categories, config = predictor.categories, predictor.config

        def __call__(self, image: object) -> PanopticPrediction:
            truth = next(truths)
            segments = [segment._replace(category_id=order[segment.category_id]) for segment in truth.segments]
            return PanopticPrediction(truth.panoptic_map, segments)

    report = evaluate(Oracle(), dataset, tmp_path / "out")  # type: ignore[arg-type]
    assert report.all.pq == 1.0


def test_tasks_equal_the_score_of_the_files_in_any_number_of_processes(root: Path, tmp_path: Path) -> None:
    predictor, dataset = Predictor(RedIsBox(), make_config(), "cpu"), CocoPanopticDataset(root, "val")
    one = evaluate_tasks(predictor, dataset, tmp_path / "one")
    two = evaluate_tasks(predictor, dataset, tmp_path / "two", processes=2)
    scored = score_files(root / "annotations" / "panoptic_val.json", tmp_path / "two" / "predictions.json")
    written = json.loads((tmp_path / "two" / "report.json").read_text())
    assert written == one.to_json() == two.to_json() == scored.to_json()
    assert written["semantic"]["mIoU"] > 0.01  # the sky is right where it is
    files = [sorted(path.name for path in (tmp_path / name / "predictions").iterdir()) for name in ("one", "two")]
    assert files[0] == files[1]
    assert len(files[0]) == 3
    assert evaluate_tasks(predictor, dataset, tmp_path / "one", tasks=["semantic"]).to_json().keys() == {"semantic"}
    with pytest.raises(InputError, match="there is no task 'depth'"):
        evaluate_tasks(predictor, dataset, tmp_path / "one", tasks=["depth"])


def test_classes_are_matched_by_dataset_id() -> None:
    void = Category(0, "void", False)
    known = (void, *SCENE_CATEGORIES[::-1])
    assert match_categories(known, SCENE_CATEGORIES, void_class=0) == [-1, 5, 4, 3, 2, 1, 0]


def test_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"differ in the categories with the ids \[5\]"):
        match_categories(SCENE_CATEGORIES, SCENE_CATEGORIES[:5])
    stuff = [category._replace(is_thing=False) for category in SCENE_CATEGORIES]
    with pytest.raises(InputError, match=r"\[3, 4, 5\]"):
        match_categories(SCENE_CATEGORIES, stuff)
