"""Evaluation writes what it scored, in a form that scores the same from disk."""

import base64
import io
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from axial_deeplab.cli import main
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.files import write_png
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.data.scenes import SCENE_CATEGORIES, SceneDataset
from axial_deeplab.data.submissions import SUBMISSIONS
from axial_deeplab.errors import InputError
from axial_deeplab.evaluate import evaluate, evaluate_tasks, match_categories
from axial_deeplab.metrics import task_scores
from axial_deeplab.metrics.average_precision import PrecisionReport
from axial_deeplab.metrics.panoptic_quality import compute_panoptic_quality
from axial_deeplab.metrics.score_files import score_files
from axial_deeplab.predict import Predictor
from axial_deeplab.records import Category, PanopticPrediction, PanopticRecord, Segment
from tests.data.layout_sources import write_cityscapes
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


def test_report_shows_the_worst_images_alike_in_any_number_of_processes(root: Path, tmp_path: Path) -> None:
    predictor, dataset = Predictor(RedIsBox(), make_config(), "cpu"), CocoPanopticDataset(root, "val")
    pages = {}
    for processes in (1, 2):
        folder = tmp_path / f"{processes}"
        report = evaluate_tasks(predictor, dataset, folder, processes=processes, worst=2)
        pages[processes] = (folder / "report.html").read_text()
    page = pages[1]
    assert page == pages[2]
    assert report.panoptic is not None
    for quality in (report.panoptic.all, report.panoptic.stuff):
        assert f"<td>{100 * quality.pq:.1f}</td><td>{100 * quality.sq:.1f}</td>" in page
    things = [report.panoptic.per_class[c.id] for c in dataset.categories if c.is_thing]
    for wrong in ("fn", "fp"):  # all objects and those found, then all predictions and those that are right
        right, total = sum(q.tp for q in things), sum(q.tp + getattr(q, wrong) for q in things)
        assert total > 10
        assert page.count(f"<td>all</td><td>{total}</td><td>{right}</td>") == 2  # by class and by size
    names = [name for name in (dataset[number].file_name for number in range(3)) if f". {name}</h3>" in page]
    assert len(names) == 2
    data = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    pictures = [Image.open(io.BytesIO(base64.b64decode(text))) for text in data]
    assert [picture.size for picture in pictures] == [(512, 512)] * 6
    assert "://" not in page
    assert "<script" not in page


def test_score_explains_two_files(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = CocoPanopticDataset(root, "val")
    evaluate_tasks(Predictor(RedIsBox(), make_config(), "cpu"), dataset, tmp_path / "out")
    truth, predictions = root / "annotations" / "panoptic_val.json", tmp_path / "out" / "predictions.json"
    page = tmp_path / "page.html"
    arguments = ["score", "--ground-truth", str(truth), "--html", str(page), "--predictions"]
    assert main([*arguments, str(predictions)]) == 0
    said, shown = page.read_text(), (tmp_path / "out" / "report.html").read_text()
    assert said[: said.index("<h2>The 3 images")] == shown[: shown.index("<h2>The 3 images")]
    assert "<img" not in said
    assert main([*arguments, str(tmp_path)]) == 2
    assert "is no COCO panoptic JSON, which --html needs" in capsys.readouterr().err


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


def test_missing_evaluator_is_said(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(task_scores, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    predictor, dataset = Predictor(RedIsBox(), make_config(), "cpu"), CocoPanopticDataset(root, "val")
    assert evaluate_tasks(predictor, dataset, tmp_path / "out").instance is None
    assert capsys.readouterr().err.splitlines() == [task_scores.explain_left_out(SCENE_CATEGORIES)]
    with pytest.raises(InputError, match="pip install"):
        evaluate_tasks(predictor, dataset, tmp_path / "out", tasks=["instance"])


def test_precision_of_cityscapes_equals_the_score_of_its_files(tmp_path: Path) -> None:
    """A car on a caravan is wrong: the official evaluator does not excuse instances of classes that it does not score."""
    root = write_cityscapes(tmp_path / "data")
    dataset = CocoPanopticDataset(root, "val")
    guesses = [guess_cars(record) for record in map(dataset.__getitem__, range(len(dataset)))]
    form = SUBMISSIONS["cityscapes-instance"]
    with form.open(tmp_path, dataset.categories) as writer:
        for guess, record in zip(guesses, map(dataset.__getitem__, range(len(dataset))), strict=True):
            writer.add(*form.identify(Path(record.file_name), ""), guess)
    expected = score_files(root / "gtFine" / "val", tmp_path / "cityscapes-instance").instance
    assert isinstance(expected, PrecisionReport)
    assert 0.5 < expected.ap < 1
    street = replace(make_config(), categories=dataset.categories)
    for processes in (1, 2):
        later = iter(guesses)

        class Oracle:
            categories, config = dataset.categories, street

            def __call__(self, image: object, later: Iterator[PanopticPrediction] = later) -> PanopticPrediction:
                return next(later)

        report = evaluate_tasks(Oracle(), dataset, tmp_path / "out", processes=processes)  # type: ignore[arg-type]
        assert report.instance is not None
        assert report.instance.to_json() == expected.to_json()


def guess_cars(record: PanopticRecord) -> PanopticPrediction:
    """Return the truth without crowd, and a car of the best score where a class is not scored."""
    guess = record.panoptic_map.clone()
    for segment in record.segments:
        if segment.is_crowd:
            guess[guess == segment.id] = 0
    segments = [segment._replace(score=0.5) for segment in record.segments if not segment.is_crowd]
    if record.blamed is not None:
        guess[record.blamed] = 1
        segments.append(Segment(1, 13, True, 1.0))
    return PanopticPrediction(guess, segments)
