"""What the writer writes, the reader and the metric take back; a run that dies leaves no JSON."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.panoptic_png import MAX_ID, count_pixels, decode_ids, encode_ids, read_ids
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.panoptic_quality import compute_panoptic_quality
from axial_deeplab.records import Category, PanopticPrediction, Segment

CATEGORIES = (Category(9, "person", True, (1, 2, 3)), Category(2, "sky", False))


def make_prediction(seed: int) -> PanopticPrediction:
    generator = np.random.default_rng(seed)
    ids = np.array([0, 5, 70000, MAX_ID], np.int32)[generator.integers(0, 4, (7, 9))]
    segments = [
        Segment(number, position % 2, position % 2 == 0, 0.25 * position, int((ids == number).sum()))
        for position, number in enumerate(np.unique(ids[ids > 0]).tolist())
    ]
    return PanopticPrediction(torch.from_numpy(ids), segments)


def test_ids_survive_the_colors() -> None:
    ids = np.array([[0, 1, 255], [256, 65536, MAX_ID]], np.int64)
    colors = encode_ids(ids)
    assert colors.dtype == np.uint8
    assert colors[1].tolist() == [[0, 1, 0], [0, 0, 1], [255, 255, 255]]
    decoded = decode_ids(Image.fromarray(colors))
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, ids)
    for wrong in (-1, MAX_ID + 1):
        with pytest.raises(InputError, match="a PNG holds 0"):
            encode_ids(np.array([[wrong]]))


def test_large_random_map_survives_a_file(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 2**24, (301, 203)).astype(np.int32)
    Image.fromarray(encode_ids(ids)).save(tmp_path / "ids.png")
    np.testing.assert_array_equal(read_ids(tmp_path / "ids.png"), ids)


def test_pixels_are_counted() -> None:
    ids = np.random.default_rng(0).integers(0, 9, (30, 40)).repeat(3, axis=1).astype(np.int32)
    found, areas = np.unique(ids, return_counts=True)
    assert count_pixels(ids) == dict(zip(found.tolist(), areas.tolist(), strict=True))
    assert count_pixels(np.full((1, 1), 7)) == {7: 1}


def test_round_trip(tmp_path: Path) -> None:
    predictions = {f"image {seed}": make_prediction(seed) for seed in range(3)}
    predictions["empty"] = PanopticPrediction(torch.zeros(4, 4, dtype=torch.int32), [])
    (tmp_path / "images" / "val").mkdir(parents=True)
    json_path = tmp_path / "annotations" / "panoptic_val.json"
    with PanopticWriter(json_path, CATEGORIES) as writer:
        for image_id, prediction in predictions.items():
            size = prediction.panoptic_map.shape
            Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / "images" / "val" / f"{image_id}.jpg")
            writer.add(image_id, f"{image_id}.jpg", prediction)
    dataset = CocoPanopticDataset(tmp_path, "val")
    assert dataset.categories == CATEGORIES
    for index, (image_id, prediction) in enumerate(predictions.items()):
        record = dataset[index]
        assert record.image_id == image_id
        assert list(record.segments) == prediction.segments
        assert torch.equal(record.panoptic_map, prediction.panoptic_map)
    assert compute_panoptic_quality(json_path, json_path).all.pq == 1.0


def test_entries_are_those_of_the_format(tmp_path: Path) -> None:
    ids = torch.tensor([[0, 5, 5, 0], [0, 5, 0, 8], [8, 0, 0, 8]], dtype=torch.int32)
    segments = [Segment(5, 0, True, 0.5, 3, True), Segment(8, 1, False, 1.0, 3)]
    with PanopticWriter(tmp_path / "out.json", CATEGORIES) as writer:
        writer.add(12, "deep/photo.jpeg", PanopticPrediction(ids, segments))
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["images"] == [{"id": 12, "file_name": "deep/photo.jpeg", "width": 4, "height": 3}]
    assert content["categories"] == [
        {"id": 9, "name": "person", "isthing": 1, "color": [1, 2, 3]},
        {"id": 2, "name": "sky", "isthing": 0},
    ]
    (annotation,) = content["annotations"]
    assert (annotation["image_id"], annotation["file_name"]) == (12, "deep/photo.png")
    person = {"id": 5, "category_id": 9, "area": 3, "bbox": [1, 0, 2, 2], "iscrowd": 1, "isthing": 1, "score": 0.5}
    sky = {"id": 8, "category_id": 2, "area": 3, "bbox": [0, 1, 4, 2], "iscrowd": 0, "isthing": 0, "score": 1.0}
    assert annotation["segments_info"] == [person, sky]
    np.testing.assert_array_equal(read_ids(tmp_path / "out" / "deep" / "photo.png"), ids.numpy())


@pytest.mark.parametrize("seed", range(5))
def test_boxes_equal_those_of_the_masks(tmp_path: Path, seed: int) -> None:
    prediction = make_prediction(seed)
    with PanopticWriter(tmp_path / "out.json", CATEGORIES) as writer:
        writer.add(1, "a.png", prediction)
    (annotation,) = json.loads((tmp_path / "out.json").read_text())["annotations"]
    for info in annotation["segments_info"]:
        rows, columns = np.nonzero(prediction.panoptic_map.numpy() == info["id"])
        left, top, width, height = info["bbox"]
        assert (left, left + width - 1) == (columns.min(), columns.max())
        assert (top, top + height - 1) == (rows.min(), rows.max())
        assert info["area"] == rows.size


def test_a_run_that_dies_leaves_no_json(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("from an older run")

    def run() -> None:
        with PanopticWriter(tmp_path / "out.json", CATEGORIES) as writer:
            assert not (tmp_path / "out.json").exists()
            writer.add(1, "a.jpg", make_prediction(0))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_refuses_what_would_make_a_broken_set(tmp_path: Path) -> None:
    writer = PanopticWriter(tmp_path / "out.json", CATEGORIES)
    prediction = make_prediction(0)
    writer.add(1, "a.jpg", prediction)
    for image_id, name in ((1, "b.jpg"), (2, "a.png")):
        with pytest.raises(InputError, match="written before"):
            writer.add(image_id, name, prediction)
    for name in ("../b.jpg", "/b.jpg"):
        with pytest.raises(InputError, match="leads out of"):
            writer.add(2, name, prediction)
    with pytest.raises(InputError, match=r"b\.jpg: ids \[5, 70000, 16777215\] are in the map"):
        writer.add(2, "b.jpg", PanopticPrediction(prediction.panoptic_map, []))
    with pytest.raises(InputError, match=r"class 2 is not one of 0 \.\. 1"):
        writer.add(2, "b.jpg", PanopticPrediction(torch.ones(2, 2, dtype=torch.int32), [Segment(1, 2, True)]))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    with pytest.raises(InputError, match=r"must end in \.json"):
        PanopticWriter(tmp_path / "out", CATEGORIES)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"folder\.json cannot be replaced"):
        PanopticWriter(tmp_path / "folder.json", CATEGORIES)
