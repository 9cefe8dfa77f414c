"""Every layout, as its owners ship it, comes out of the one reader."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.check.split import CheckedSplit, DataSource
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.convert.write import convert_dataset
from axial_deeplab.data.layouts.detect import detect_layout, index_split, list_split_images
from axial_deeplab.records import PanopticRecord, Segment
from tests.data.convert_sources import edit_json, write_labelme, write_picture
from tests.data.layout_sources import CITIES, write_cityscapes, write_coco_panoptic, write_mapillary
from tests.oracles.cityscapes_panoptic import LABELS, write_panoptic_files


def assert_equal(first: PanopticRecord, second: PanopticRecord) -> None:
    assert first[2:5] == second[2:5]  # what is blamed, the instance ids alone say
    for a, b in zip(first[:2], second[:2], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("train_ids", [False, True])
def test_cityscapes_reads_alike_with_and_without_the_official_files(train_ids: bool, tmp_path: Path) -> None:
    raw = CocoPanopticDataset(write_cityscapes(tmp_path / "raw"), "train")
    root = write_cityscapes(tmp_path / "made")
    json_path = write_panoptic_files(root, "train", train_ids=train_ids)
    made = CocoPanopticDataset(root, "train")
    assert (raw.paths.masks, made.paths.annotations) == (tmp_path / "raw" / "gtFine" / "train", json_path)
    assert raw.categories == made.categories == load_catalog("cityscapes")
    assert [(c.id, c.name, c.is_thing) for c in raw.categories] == [(label, name, t) for label, name, _, t in LABELS]
    assert [record.image_id for record in raw] == list(CITIES["train"])
    for first, second in zip(raw, made, strict=True):
        assert_equal(first, second)
        assert first.file_name == f"{first.file_name[:6]}/{first.image_id}_leftImg8bit.png"
    segments = [segment for record in raw for segment in record.segments]
    crowds = [segment for segment in segments if segment.is_crowd]
    assert crowds
    assert all(segment.is_thing and segment.id < 1000 for segment in crowds)
    assert any(segment.id >= 24000 for segment in segments)


def test_cityscapes_test_has_images_but_no_labels(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path)
    name = CITIES["test"][0]
    (image,) = list_split_images(root, "test")
    assert image == (root / "leftImg8bit" / "test" / image.file_name, name, f"berlin/{name}_leftImg8bit.png")
    assert image.path.is_file()


def test_street_photo_in_the_layout_of_cityscapes(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "deeplab2-sample"
    shutil.copytree(sample / "gtFine", tmp_path / "gtFine")
    shutil.copytree(sample / "leftImg8bit", tmp_path / "leftImg8bit" / "dummy" / "dummy")
    (record,) = CocoPanopticDataset(tmp_path, "dummy")
    names = [category.name for category in load_catalog("cityscapes")]
    assert [(names[s.category_id], s.is_crowd) for s in record.segments].count(("car", False)) == 5
    assert [names[s.category_id] for s in record.segments if s.is_crowd] == ["car"]
    # The same scene from instance ids: the ids of its PNG are those of Cityscapes.
    ids = np.where(record.panoptic_map.numpy() > 0, record.panoptic_map.numpy(), 4)
    folder = tmp_path / "raw" / "gtFine" / "dummy" / "dummy"
    folder.mkdir(parents=True)
    Image.fromarray(ids.astype(np.uint16)).save(folder / f"{record.image_id}_gtFine_instanceIds.png")
    shutil.copytree(tmp_path / "leftImg8bit", tmp_path / "raw" / "leftImg8bit")
    (raw,) = CocoPanopticDataset(tmp_path / "raw", "dummy")
    assert sorted(raw.segments) == sorted(record.segments)
    assert_equal(raw._replace(segments=()), record._replace(segments=()))


def test_coco_as_shipped(tmp_path: Path) -> None:
    root = write_coco_panoptic(tmp_path)
    for split, first_id in (("train2017", 9), ("val2017", 139)):
        dataset = CocoPanopticDataset(root, split)
        assert dataset.categories == load_catalog("coco")
        records = list(dataset)
        assert [record.image_id for record in records] == [first_id, first_id + 1]
        assert records[0].segments[2] == Segment(5, 0, True, 1.0, 24, True)
    assert [image.image_id for image in list_split_images(root, "test2017")] == [1, 16, 20]
    assert [image.image_id for image in list_split_images(root, "test-dev2017")] == [16, 20]
    assert [image.file_name for image in list_split_images(root, "val")] == ["000000000139.jpg", "000000000140.jpg"]
    assert all(image.path.is_file() for image in list_split_images(root, "test-dev2017"))


def test_coco_pngs_may_lie_beside_the_images(tmp_path: Path) -> None:
    root = write_coco_panoptic(tmp_path)
    (root / "annotations" / "panoptic_val2017").rename(root / "panoptic_val2017")
    assert len(CocoPanopticDataset(root, "val2017")[1].segments) == 4


def test_both_versions_of_mapillary_lie_in_one_folder(tmp_path: Path) -> None:
    root = write_mapillary(tmp_path, "1.2", "2.0")
    old = CocoPanopticDataset(root, "training", version="1.2")
    assert [(c.id, c.name, c.is_thing) for c in old.categories] == [(1, "Bird", True), (2, "Curb", False)]
    new = CocoPanopticDataset(root, "training", version="2.0")
    assert [c.id for c in new.categories] == [1, 2, 3, 4]
    assert new.categories[3] == (4, "Curb", False, (9, 3, 200))
    assert old.paths.masks == root / "training" / "v1.2" / "panoptic"
    for dataset, curb in ((old, 1), (new, 3)):
        record = dataset[1]
        assert (len(dataset), record.image_id, record.file_name) == (2, "b-_x", "b-_x.jpg")
        assert record.segments == (Segment(8000000, 0, True, 1.0, 48), Segment(77, curb, False, 1.0, 48))
        np.testing.assert_array_equal(record.panoptic_map[0].numpy(), np.repeat([0, 8000000, 77, 0], 4))
    assert [image.image_id for image in list_split_images(root, "testing")] == ["d-_x", "e-_x"]


@pytest.mark.parametrize(
    ("write", "layout", "version"),
    [
        (write_coco_panoptic, "coco", None),
        (write_cityscapes, "cityscapes", None),
        (write_mapillary, "mapillary", "1.2"),
    ],
)
def test_the_splits_of_one_layout_are_found_by_the_names_of_another(
    write: object, layout: str, version: str | None, tmp_path: Path
) -> None:
    root = write_mapillary(tmp_path, "1.2") if layout == "mapillary" else write(tmp_path)  # type: ignore[operator]
    assert detect_layout(root) == layout
    for names in (("train", "train2017", "training"), ("val", "val2017", "validation")):
        paths = {CocoPanopticDataset(root, name, version=version).paths for name in names}
        assert len(paths) == 1


def test_a_converted_set_has_the_names_and_colors_of_its_description(tmp_path: Path) -> None:
    convert_dataset(write_labelme(tmp_path / "source"), tmp_path / "out")
    before = CocoPanopticDataset(tmp_path / "out", "train")
    path = tmp_path / "out" / "dataset.yaml"
    content = yaml.safe_load(path.read_text())
    content["names"][0], content["colors"][1] = "kitten", [1, 2, 3]
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if key != "splits"}))
    after = CocoPanopticDataset(tmp_path / "out", "train")
    assert [(c.name, c.is_thing) for c in after.categories] == [("kitten", True), ("dog", True), ("background", False)]
    assert (after.categories[0].color, after.categories[1].color) == (before.categories[0].color, (1, 2, 3))
    assert_equal(before[0], after[0])
    # The order of the description is that of the classes, and a JSON without a list of its own is enough.
    for values in content.values():
        values.reverse()
    path.write_text(yaml.safe_dump(content | {"splits": ["train"]}))
    edit_json(tmp_path / "out" / "annotations" / "panoptic_train.json", lambda c: c.pop("categories"))
    turned = CocoPanopticDataset(tmp_path / "out", "train")
    assert turned.categories == after.categories[::-1]
    assert [s.category_id for s in turned[0].segments] == [2 - s.category_id for s in before[0].segments]


def test_a_description_does_not_speak_for_other_files(tmp_path: Path) -> None:
    convert_dataset(write_labelme(tmp_path), tmp_path / "out")
    folder = tmp_path / "out" / "annotations"
    content = json.loads((folder / "panoptic_train.json").read_text())
    content["categories"][0]["name"] = "animal"
    (folder / "other.json").write_text(json.dumps(content))
    given = CocoPanopticDataset(
        tmp_path / "out", "train", annotations="annotations/other.json", masks="annotations/panoptic_train"
    )
    assert given.categories[0].name == "animal"


def test_a_folder_of_two_layouts_is_read_as_told(tmp_path: Path) -> None:
    root = write_coco_panoptic(write_cityscapes(tmp_path))
    assert len(CocoPanopticDataset(root, "train", layout="cityscapes").categories) == 19
    assert len(CocoPanopticDataset(root, "train", layout="coco").categories) == 133
    assert list_split_images(root, "val", layout="cityscapes")[0].image_id == CITIES["val"][0]


@pytest.mark.parametrize("name", ["camvid", "coco-things", "nuclei"])
def test_real_sets_are_recognized(name: str, shared_data: Path) -> None:
    assert detect_layout(shared_data / name) == "coco"
    dataset = CocoPanopticDataset(shared_data / name, "val")
    images = list_split_images(shared_data / name, "val")
    record = dataset[0]
    assert (len(images), images[0].image_id, images[0].file_name) == (len(dataset), record.image_id, record.file_name)
    assert sum(segment.area for segment in record.segments) == int((record.panoptic_map > 0).sum())


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path)
    name = CITIES["val"][0]
    write_picture(root / "leftImg8bit" / "val" / "frankfurt" / f"._{name}_leftImg8bit.png")
    assert len(CocoPanopticDataset(root, "val")) == len(CITIES["val"])


def test_given_paths_may_name_the_split(tmp_path: Path) -> None:
    """The index, the reader and the check take the same words."""
    write_coco_panoptic(tmp_path)
    given = "{split}", "annotations/panoptic_{split}.json"
    index = index_split(tmp_path, "val2017", given=(*given, None))
    assert index.paths.images == tmp_path / "val2017"
    dataset = CocoPanopticDataset(tmp_path, "val2017", images=given[0], annotations=given[1])
    checked = CheckedSplit(DataSource(str(tmp_path), *given), "val2017")
    assert [len(dataset), len(checked)] == [len(index.images)] * 2
    assert dataset.paths == checked.index.paths == index.paths
