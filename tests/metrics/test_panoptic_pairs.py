"""Broken COCO panoptic pairs: each is refused in one line that names the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from axial_deeplab.data.panoptic_png import encode_ids
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.panoptic_quality import compute_panoptic_quality

Content = dict[str, Any]


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Write two images with the same truth and prediction; return the folder."""
    categories = [
        {"id": 1, "name": "person", "isthing": 1, "color": [1, 2, 3]},
        {"id": 5, "name": "sky", "isthing": 0, "supercategory": "outdoor"},
    ]
    annotations = []
    for number in (1, 2):
        ids = np.repeat([[0, 70000, 300, 300]], 3, axis=0)
        infos = [{"id": 70000, "category_id": 1, "area": 3, "iscrowd": 0}, {"id": 300, "category_id": 5, "area": 6}]
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": infos})
        for side in ("truth", "predictions"):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(encode_ids(ids)).save(tmp_path / side / f"{number}.png")
    for side in ("truth", "predictions"):
        (tmp_path / f"{side}.json").write_text(json.dumps({"annotations": annotations, "categories": categories}))
    return tmp_path


def score(folder: Path) -> float:
    return compute_panoptic_quality(folder / "truth.json", folder / "predictions.json").all.pq


def assert_refused(folder: Path, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        score(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def edit(path: Path, change: Callable[[Content], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_sound_pair_is_perfect(pair: Path) -> None:
    assert score(pair) == 1.0


def test_predictions_need_no_classes_and_may_hold_further_images(pair: Path) -> None:
    edit(pair / "predictions.json", lambda c: c.pop("categories"))
    edit(pair / "predictions.json", lambda c: c["annotations"].append(c["annotations"][0] | {"image_id": "more"}))
    assert score(pair) == 1.0


def test_truth_without_area_takes_the_pixels(pair: Path) -> None:
    edit(pair / "truth.json", lambda c: [s.pop("area") for a in c["annotations"] for s in a["segments_info"]])
    edit(pair / "truth.json", lambda c: first_segment(c).update(area=None, iscrowd=None))
    assert score(pair) == 1.0


def test_missing_prediction(pair: Path) -> None:
    edit(pair / "predictions.json", lambda c: c["annotations"].pop(1))
    assert_refused(pair, "predictions.json", "1 images", "image_id 2")


def test_nothing_to_score(pair: Path) -> None:
    edit(pair / "truth.json", lambda c: c["annotations"].clear())
    assert_refused(pair, "truth.json", "'annotations' is empty")


def test_missing_files(pair: Path) -> None:
    (pair / "predictions" / "2.png").unlink()
    assert_refused(pair, "predictions/2.png does not exist")
    (pair / "predictions.json").unlink()
    assert_refused(pair, "predictions.json", "No such file")


def test_unequal_size(pair: Path) -> None:
    ids = np.repeat([[0, 70000, 300, 300, 300]], 3, axis=0)
    Image.fromarray(encode_ids(ids)).save(pair / "predictions" / "1.png")
    assert_refused(pair, "predictions/1.png has 3×5 pixels", "truth/1.png has 3×4")


def write_palette(path: Path) -> None:
    Image.fromarray(np.zeros((3, 4), np.uint8)).convert("P").save(path)


def write_gray(path: Path) -> None:
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(path)


def write_jpeg(path: Path) -> None:
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(path, format="JPEG")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (write_palette, "mode P"),
        (write_gray, "mode L"),
        (write_jpeg, "cannot be read as a PNG"),
        (cut_short, "cannot be read as a PNG"),
        (empty, "cannot be read as a PNG"),
    ],
)
def test_unusable_png(pair: Path, damage: Callable[[Path], None], reason: str) -> None:
    damage(pair / "truth" / "2.png")
    assert_refused(pair, "truth/2.png", reason)


def test_alpha_counts_for_nothing(pair: Path) -> None:
    with Image.open(pair / "predictions" / "1.png") as image:
        colors = np.dstack([np.asarray(image), np.arange(12, dtype=np.uint8).reshape(3, 4)])
    Image.fromarray(colors).save(pair / "predictions" / "1.png")
    assert score(pair) == 1.0


def first_segment(content: Content) -> Content:
    segment: Content = content["annotations"][0]["segments_info"][0]
    return segment


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["annotations"][0]["segments_info"].pop(0), "ids [70000] are in the map but not in the list"),
        (
            lambda c: c["annotations"][0]["segments_info"].append({"id": 9, "category_id": 1}),
            "segments [9] are in the list but have no pixel",
        ),
    ],
)
@pytest.mark.parametrize("side", ["truth", "predictions"])
def test_json_and_png_disagree(pair: Path, side: str, change: Callable[[Content], object], reason: str) -> None:
    edit(pair / f"{side}.json", change)
    assert_refused(pair, f"{side}/1.png", reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.pop("annotations"), "the key 'annotations' is missing"),
        (lambda c: c.update(annotations={}), "'annotations' cannot be {}"),
        (lambda c: c["annotations"][0].pop("image_id"), "annotation 0: the key 'image_id' is missing"),
        (lambda c: c["annotations"][1].pop("file_name"), "annotation 1 (image_id 2): the key 'file_name' is missing"),
        (lambda c: c["annotations"][0].pop("segments_info"), "the key 'segments_info' is missing"),
        (lambda c: c["annotations"].append(None), "annotation 2: the key 'image_id' is missing"),
        (lambda c: first_segment(c).pop("id"), "annotation 0 (image_id 1): the key 'id' is missing"),
        (lambda c: first_segment(c).pop("category_id"), "the key 'category_id' is missing"),
        (lambda c: first_segment(c).update(category_id=[1]), "'category_id' cannot be [1]"),
        (
            lambda c: first_segment(c).update(category_id=77),
            "segment 70000: the category id 77 is not in the class list",
        ),
        (lambda c: first_segment(c).update(id=0), "segment id 0"),
        (lambda c: first_segment(c).update(id=2**24), "segment id 16777216"),
        (lambda c: first_segment(c).update(id=300), "a segment id repeats"),
        (lambda c: first_segment(c).update(area=-3), "'area' cannot be -3"),
        (lambda c: first_segment(c).update(area=float("nan")), "'area' cannot be nan"),
        (lambda c: first_segment(c).update(iscrowd="no"), "'iscrowd' cannot be 'no'"),
        (lambda c: c["annotations"][1].update(image_id=1), "two annotations have the image_id 1"),
        (lambda c: c.update(categories=[]), "at least one class"),
        (lambda c: c["categories"][0].pop("isthing"), "class 0 must have the key 'isthing'"),
        (lambda c: c["categories"][1].update(id=1), "the category id 1 repeats"),
        (lambda c: c["categories"][0].update(color=[1, 2]), "'color' must be three integers"),
        (lambda c: c.update(images=[{"id": 1}]), "image 0: the key 'file_name' is missing"),
        (lambda c: c.update(images=[{"id": 1, "file_name": "a"}] * 2), "two images have the id 1"),
    ],
)
@pytest.mark.parametrize("side", ["truth", "predictions"])
def test_malformed_json(pair: Path, side: str, change: Callable[[Content], object], reason: str) -> None:
    edit(pair / f"{side}.json", change)
    assert_refused(pair, f"{side}.json", reason)


def test_truth_needs_classes(pair: Path) -> None:
    edit(pair / "truth.json", lambda c: c.pop("categories"))
    assert_refused(pair, "truth.json", "'categories' is missing")


@pytest.mark.parametrize("text", ["", "[1]", "null", '{"annotations": [', "\xff\xfe", "[" * 100_000])
def test_no_json_object(pair: Path, text: str) -> None:
    (pair / "predictions.json").write_text(text, encoding="latin-1")
    assert_refused(pair, "predictions.json")


@pytest.mark.parametrize("change", [{"name": "dog"}, {"isthing": 0}, {"id": 2}])
def test_class_lists_disagree(pair: Path, change: Content) -> None:
    edit(pair / "predictions.json", lambda c: c["annotations"][0]["segments_info"].pop(0))
    edit(pair / "predictions.json", lambda c: c["categories"][0].update(change))
    assert_refused(pair, "predictions.json", "'categories' differs")


def test_order_and_color_of_classes_are_free(pair: Path) -> None:
    edit(pair / "predictions.json", lambda c: c["categories"].reverse())
    edit(pair / "predictions.json", lambda c: c["categories"][0].update(color=[9, 9, 9]))
    assert score(pair) == 1.0


def test_folders_can_be_named(pair: Path, tmp_path: Path) -> None:
    shutil.move(pair / "truth", pair / "elsewhere")
    report = compute_panoptic_quality(
        pair / "truth.json",
        pair / "predictions.json",
        truth_folder=pair / "elsewhere",
        prediction_folder=str(pair / "predictions"),
    )
    assert report.to_json()["All"] == {"pq": 1.0, "sq": 1.0, "rq": 1.0, "n": 2}
