"""Predictions written as labels come back through `dataset convert` as they were."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.convert.write import ConvertOptions, convert_dataset
from axial_deeplab.data.prelabels import PRELABELS
from axial_deeplab.data.scenes import SCENE_CATEGORIES, SceneDataset
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticPrediction, Segment
from tests.data.convert_sources import write_picture

CATEGORIES = (Category(1, "rock", True), Category(4, "cat", True), Category(5, "background", False))


def draw_cats() -> PanopticPrediction:
    """Draw a cat in two parts, a ring of a cat with a rock in its hole, and background."""
    ids = np.full((60, 90), 9, np.int32)
    ids[5:20, 5:15], ids[30:50, 5:15] = 3, 3
    y, x = np.mgrid[:60, :90]
    distance = np.hypot(y - 30, x - 60)
    ids[distance < 25], ids[distance < 14], ids[distance < 9] = 5, 9, 2
    kinds = {2: (0, True), 3: (1, True), 5: (1, True), 9: (2, False)}
    segments = [Segment(n, c, thing, 0.75, int((ids == n).sum())) for n, (c, thing) in kinds.items()]
    return PanopticPrediction(torch.from_numpy(ids), segments)


def write(form: str, output: Path, name: str, prediction: PanopticPrediction, classes: tuple[Category, ...]) -> Path:
    with PRELABELS[form](output, classes) as writer:
        writer.add(output.parent / f"{name}.png", name, prediction)
    return output / form


def measure_ious(record_map: np.ndarray, prediction: PanopticPrediction) -> list[float]:
    """Return for each segment its IoU with the one that came back in its place."""
    ious = []
    for segment in prediction.segments:
        mask = prediction.panoptic_map.numpy() == segment.id
        other = record_map == np.bincount(record_map[mask]).argmax()
        ious.append(float((mask & other).sum() / (mask | other).sum()))
    return ious


@pytest.mark.parametrize("form", PRELABELS)
def test_objects_in_parts_and_with_holes_come_back(form: str, tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", (60, 90))
    prediction = draw_cats()
    folder = write(form, tmp_path / "out", "a", prediction, CATEGORIES)
    report = convert_dataset(folder, tmp_path / "data")
    assert (report.format, report.hidden, report.empty) == (form, 0, 0)
    dataset = CocoPanopticDataset(tmp_path / "data", "train")
    assert [(c.name, c.is_thing) for c in dataset.categories] == [(c.name, c.is_thing) for c in CATEGORIES]
    record = dataset[0]
    assert sorted(segment.category_id for segment in record.segments) == [0, 1, 1, 2]
    ious = measure_ious(record.panoptic_map.numpy(), prediction)
    assert min(ious) > 0.97, ious
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), record.image.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("form", PRELABELS)
def test_scenes_with_stuff_come_back(form: str, tmp_path: Path) -> None:
    scenes = [SceneDataset(3, size=128, seed=4)[number] for number in range(3)]
    with PRELABELS[form](tmp_path / "out", SCENE_CATEGORIES) as writer:
        for number, record in enumerate(scenes):
            write_picture(tmp_path / f"{number}.png", (128, 128))
            prediction = PanopticPrediction(record.panoptic_map, list(record.segments))
            writer.add(tmp_path / f"{number}.png", f"{number}", prediction)
    stuff = tuple(category.name for category in SCENE_CATEGORIES if not category.is_thing) if form == "labelme" else ()
    convert_dataset(tmp_path / "out" / form, tmp_path / "data", ConvertOptions(stuff=stuff))
    dataset = CocoPanopticDataset(tmp_path / "data", "train")
    assert [c.name for c in dataset.categories] == [c.name for c in SCENE_CATEGORIES]
    for record, returned in zip(scenes, (dataset[number] for number in range(3)), strict=True):
        prediction = PanopticPrediction(record.panoptic_map, list(record.segments))
        ious = measure_ious(returned.panoptic_map.numpy(), prediction)
        large = [iou for iou, segment in zip(ious, record.segments, strict=True) if segment.area > 100]
        assert min(large) > 0.9, ious
        classes = {segment.id: segment.category_id for segment in returned.segments}
        for segment in record.segments:
            if segment.area > 100:
                there = returned.panoptic_map[record.panoptic_map == segment.id]
                assert classes[int(there.mode().values)] == segment.category_id


@pytest.mark.parametrize("form", PRELABELS)
def test_an_object_in_a_hole_that_is_filled_stays_on_top(form: str, tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", (100, 120))
    ids = np.full((100, 120), 3, np.int32)
    ids[40:52, 40:52], ids[0:20] = 8, 9
    kinds = {3: (1, True), 8: (0, True), 9: (2, False)}
    segments = [Segment(n, c, thing, 0.5, int((ids == n).sum())) for n, (c, thing) in kinds.items()]
    prediction = PanopticPrediction(torch.from_numpy(ids), segments)
    folder = write(form, tmp_path / "out", "a", prediction, CATEGORIES)
    assert convert_dataset(folder, tmp_path / "data").overlapped == 144  # less than 2 % of what lies around it
    record = CocoPanopticDataset(tmp_path / "data", "train")[0]
    assert min(measure_ious(record.panoptic_map.numpy(), prediction)) > 0.98


def test_labelme_files_are_what_labelme_opens(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", (60, 90))
    folder = write("labelme", tmp_path / "out", "a", draw_cats(), CATEGORIES)
    content = json.loads((folder / "a.json").read_text())
    assert content.keys() == {
        "version",
        "flags",
        "shapes",
        "imagePath",
        "imageData",
        "imageHeight",
        "imageWidth",
    }
    assert (content["imagePath"], content["imageHeight"], content["imageWidth"]) == ("a.png", 60, 90)
    assert (folder / "a.png").samefile(tmp_path / "a.png")
    kinds = [(shape["label"], shape["group_id"]) for shape in content["shapes"]]
    assert kinds == [("cat", None), ("cat", 2), ("cat", 2), ("rock", None)]
    assert all(shape["shape_type"] == "polygon" and len(shape["points"]) > 2 for shape in content["shapes"])
    assert content["shapes"][0]["description"] == "score 0.75"
    assert (folder / "labels.txt").read_text() == "rock\ncat\n"


def test_an_image_without_objects_is_labeled_too(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", (6, 8))
    nothing = PanopticPrediction(torch.full((6, 8), 1, dtype=torch.int32), [Segment(1, 2, False, 0.9, 48)])
    for form in PRELABELS:
        folder = write(form, tmp_path / "out", "a", nothing, CATEGORIES)
        convert_dataset(folder, tmp_path / form)
        assert [segment.category_id for segment in CocoPanopticDataset(tmp_path / form, "train")[0].segments] == [2]


@pytest.mark.parametrize("form", PRELABELS)
def test_labels_that_may_be_corrected_are_not_replaced(form: str, tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", (60, 90))
    write(form, tmp_path / "out", "a", draw_cats(), CATEGORIES)
    with pytest.raises(InputError, match="may hold corrected labels"):
        write(form, tmp_path / "out", "a", draw_cats(), CATEGORIES)
