"""Panoptic quality against the official evaluator's numbers, a slow oracle, and hand-made cases."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.panoptic_png import decode_ids, encode_ids
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.panoptic_quality import PanopticQuality, PanopticReport, compute_panoptic_quality
from axial_deeplab.records import Category, Segment
from tests.oracles.panoptic_quality import count_matches

CATEGORIES = (
    Category(3, "person", True),
    Category(7, "car", True),
    Category(20, "sky", False),
    Category(21, "sea", False),
)
GROUPS = ("All", "Things", "Stuff")


def assert_matches(report: PanopticReport, expected: dict[str, Any]) -> None:
    """Compare with a JSON of the official evaluator, groups and classes."""
    measured = report.to_json()
    for group in GROUPS:
        assert measured[group] == pytest.approx(expected[group], rel=1e-13)
    assert {key for key, value in measured["per_class"].items() if value["n"]} == set(expected["counts"])
    for key, counts in expected["counts"].items():
        quality = measured["per_class"][key]
        assert {name: quality[name] for name in ("tp", "fp", "fn")} == {k: counts[k] for k in ("tp", "fp", "fn")}
        assert quality["sq"] * quality["tp"] == pytest.approx(counts["iou_sum"], rel=1e-13)


@pytest.mark.parametrize("name", ["synth_a", "synth_b", "synth_c"])
def test_equals_the_official_evaluator_on_synthetic_pairs(golden: Path, name: str) -> None:
    folder = golden / f"pq_{name}"
    expected = json.loads((folder / "expected.json").read_text())
    report = compute_panoptic_quality(folder / "gt.json", str(folder / "pred.json"))
    assert_matches(report, expected)
    for key, figures in expected["per_class_nonempty"].items():
        assert {k: report.per_class[int(key)]._asdict()[k] for k in figures} == pytest.approx(figures, rel=1e-13)
    assert report.format_table().splitlines() == expected["printed_table"]


@pytest.mark.parametrize("name", ["self", "shift_0_4", "shift_6_9", "shift_20_0"])
def test_equals_the_official_evaluator_on_shifted_copies(
    golden: Path, shared_data: Path, tmp_path: Path, name: str
) -> None:
    sample = shared_data / "coco-sample"
    dy, dx = (0, 0) if name == "self" else map(int, name.split("_")[1:])
    truth = json.loads((sample / "panoptic_examples.json").read_text())
    (tmp_path / "shifted").mkdir()
    for annotation in truth["annotations"]:
        with Image.open(sample / "panoptic_examples" / annotation["file_name"]) as image:
            ids = decode_ids(image)
        shifted = np.zeros_like(ids)
        shifted[dy:, dx:] = ids[: ids.shape[0] - dy, : ids.shape[1] - dx]
        Image.fromarray(encode_ids(shifted)).save(tmp_path / "shifted" / annotation["file_name"])
        left = set(np.unique(shifted).tolist())
        annotation["segments_info"] = [info for info in annotation["segments_info"] if info["id"] in left]
    (tmp_path / "predictions.json").write_text(json.dumps(truth))
    report = compute_panoptic_quality(
        sample / "panoptic_examples.json", tmp_path / "predictions.json", prediction_folder=tmp_path / "shifted"
    )
    assert_matches(report, json.loads((golden / "pq_sample_data.json").read_text())[name])


def make_side(generator: np.random.Generator, cell: int, *, crowd: bool) -> tuple[np.ndarray, list[Segment]]:
    """Return a map of blocks with random ids and classes, some void, and its segments."""
    ids = generator.choice(2**24, 6, replace=False)
    ids[0] = 0
    blocks = generator.integers(0, 6, (12 // cell, 16 // cell))
    panoptic_map = ids[blocks].repeat(cell, 0).repeat(cell, 1).astype(np.int32)
    segments = []
    for number in np.unique(panoptic_map[panoptic_map > 0]).tolist():
        category = int(generator.integers(0, len(CATEGORIES)))
        area = int((panoptic_map == number).sum())
        is_crowd = crowd and CATEGORIES[category].is_thing and generator.random() < 0.4
        segments.append(Segment(number, category, CATEGORIES[category].is_thing, 1.0, area, bool(is_crowd)))
    generator.shuffle(segments)
    return panoptic_map, [Segment(*segment) for segment in segments]


def make_images(seed: int, count: int) -> list[tuple[np.ndarray, list[Segment], np.ndarray, list[Segment]]]:
    """Return pairs in which the prediction is a damaged copy of the truth, so that matches of all qualities occur."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        truth_map, truth_segments = make_side(generator, int(generator.choice([1, 2, 4])), crowd=True)
        other_map, other_segments = make_side(generator, int(generator.choice([2, 4])), crowd=False)
        copied = generator.random(truth_map.shape) < generator.choice([0.3, 0.6, 0.9, 1.0])
        predicted_map = np.where(copied, truth_map, other_map)
        present = set(np.unique(predicted_map).tolist())
        own = {s.id: s._replace(is_crowd=False) for s in (*other_segments, *truth_segments)}
        images.append((truth_map, truth_segments, predicted_map, [s for i, s in own.items() if i in present]))
    return images


def accumulate(images: list[tuple[np.ndarray, list[Segment], np.ndarray, list[Segment]]]) -> PanopticQuality:
    metric = PanopticQuality(CATEGORIES)
    for image in images:
        metric.update(*image)
    return metric


@pytest.mark.parametrize("seed", range(30))
def test_equals_the_oracle_on_random_maps(seed: int) -> None:
    images = make_images(seed, 4)
    report = accumulate(images).compute()
    expected = count_matches(images)
    for contiguous, category in enumerate(CATEGORIES):
        quality = report.per_class[category.id]
        counts = expected.get(contiguous, {"tp": 0, "fp": 0, "fn": 0, "iou": 0.0})
        assert (quality.tp, quality.fp, quality.fn) == (counts["tp"], counts["fp"], counts["fn"])
        assert quality.sq * quality.tp == pytest.approx(counts["iou"], rel=1e-12)


def test_random_maps_exercise_every_rule() -> None:
    images = [image for seed in range(30) for image in make_images(seed, 4)]
    counts = count_matches(images)
    without_void = count_matches([(np.where(t == 0, 2**24, t), ts, p, ps) for t, ts, p, ps in images])
    without_crowd = count_matches([(t, [s for s in ts if not s.is_crowd], p, ps) for t, ts, p, ps in images])
    assert all(min(c["tp"], c["fp"], c["fn"]) > 5 for c in counts.values())
    assert counts != without_void
    assert counts != without_crowd


def test_merge_equals_a_single_pass_and_survives_pickling() -> None:
    images = make_images(5, 12)
    parts = [accumulate(images[start : start + 5]) for start in (0, 5, 10)]
    merged = PanopticQuality(CATEGORIES)
    for part in parts:
        merged.merge(pickle.loads(pickle.dumps(part)))
    single, several = accumulate(images).compute().to_json(), merged.compute().to_json()
    for key, quality in single.pop("per_class").items():
        assert several["per_class"][key] == pytest.approx(quality, rel=1e-13)
    for group, quality in single.items():
        assert several[group] == pytest.approx(quality, rel=1e-13)
    with pytest.raises(InputError, match="different classes"):
        merged.merge(PanopticQuality(CATEGORIES[:2]))


def test_takes_tensors_and_leaves_out_absent_classes() -> None:
    truth_map = torch.zeros(4, 4, dtype=torch.int32)
    truth_map[:2] = 9
    metric = PanopticQuality(CATEGORIES)
    metric.update(truth_map, [Segment(9, 2, False)], truth_map.long(), [Segment(9, 2, False)])
    report = metric.compute()
    assert report.all == report.stuff == (1.0, 1.0, 1.0, 1)
    assert report.things == (0.0, 0.0, 0.0, 0)
    assert report.per_class[20] == (1.0, 1.0, 1.0, 1, 1, 0, 0)
    assert report.per_class[3].n == 0
    json.dumps(report.to_json())


def test_the_last_crowd_of_a_class_spares_and_the_area_of_the_list_counts() -> None:
    truth_map = np.repeat(np.array([[1, 2, 3, 4]], np.int32), 4, axis=0)
    predicted_map = np.repeat(np.array([[0, 5, 6, 7]], np.int32), 4, axis=0)
    crowds = [Segment(2, 0, True, is_crowd=True), Segment(3, 0, True, is_crowd=True)]
    truth = [Segment(1, 1, True), *crowds, Segment(4, 2, False, area=9)]
    metric = PanopticQuality(CATEGORIES)
    metric.update(truth_map, truth, predicted_map, [Segment(5, 0, True), Segment(6, 0, True), Segment(7, 2, False)])
    report = metric.compute()
    assert (report.per_class[3].tp, report.per_class[3].fp, report.per_class[3].fn) == (0, 1, 0)
    assert report.per_class[7].fn == 1
    assert report.per_class[20][4:] == (0, 1, 1)  # 4 pixels of a truth that claims 9: an IoU of 4/9


def test_an_iou_of_one_half_is_no_match() -> None:
    truth_map = np.array([[1, 1, 1, 1]], np.int32)
    predicted_map = np.array([[2, 2, 0, 0]], np.int32)
    metric = PanopticQuality(CATEGORIES)
    metric.update(truth_map, [Segment(1, 0, True)], predicted_map, [Segment(2, 0, True)])
    assert metric.compute().per_class[3][4:] == (0, 1, 1)


def test_noise_of_many_ids_is_counted_right() -> None:
    generator = np.random.default_rng(0)
    truth_map = generator.integers(1, 60, (200, 300)).astype(np.int32)
    predicted_map = np.where(generator.random(truth_map.shape) < 0.8, truth_map, 60).astype(np.int32)
    metric = PanopticQuality(CATEGORIES)
    metric.update(
        truth_map,
        [Segment(number, 2, False) for number in range(1, 60)],
        predicted_map,
        [Segment(number, 2, False) for number in range(1, 61)],
    )
    kept = [((truth_map == n) & (predicted_map == n)).sum() / (truth_map == n).sum() for n in range(1, 60)]
    quality = metric.compute().per_class[20]
    assert quality[4:] == (59, 1, 0)
    assert quality.sq == pytest.approx(np.mean(kept), rel=1e-12)


@pytest.mark.parametrize(
    ("predicted_map", "predicted", "message"),
    [
        (np.ones((2, 3), np.int32), [Segment(1, 0, True)], "differ in size"),
        (np.full((2, 2), 5, np.int32), [Segment(1, 0, True)], r"prediction: ids \[5\]"),
        (np.ones((2, 2), np.int32), [Segment(1, 0, True), Segment(2, 0, True)], r"segments \[2\]"),
        (np.ones((2, 2), np.int32), [Segment(1, 0, True), Segment(1, 1, True)], "repeat"),
        (np.full((2, 2), -1, np.int32), [], "outside of 0"),
        (np.full((2, 2), 2**24, np.int64), [], "outside of 0"),
        (np.ones((2, 2), np.int32), [Segment(1, 4, True)], "class 4"),
    ],
)
def test_update_refuses_what_does_not_agree(predicted_map: np.ndarray, predicted: list[Segment], message: str) -> None:
    truth_map = np.array([[1, 1], [0, 2]], np.int32)
    metric = PanopticQuality(CATEGORIES)
    with pytest.raises(InputError, match=message):
        metric.update(truth_map, [Segment(1, 0, True), Segment(2, 2, False)], predicted_map, predicted)
    assert metric.compute().all.n == 0
