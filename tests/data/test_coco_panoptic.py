"""The reader of COCO panoptic sets: real sets, layouts, and what it refuses."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.layouts.coco import find_split
from axial_deeplab.data.panoptic_png import encode_ids
from axial_deeplab.errors import InputError
from axial_deeplab.records import Segment

Content = dict[str, Any]
IDS = np.repeat([[0, 70000, 300, 300]], 3, axis=0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a set of two images: one with a thing crowd and stuff, one without any segment."""
    for folder in ("images/val", "annotations/panoptic_val"):
        (tmp_path / folder).mkdir(parents=True)
    infos = [{"id": 70000, "category_id": 9, "area": 3, "iscrowd": 1}, {"id": 300, "category_id": 2}]
    annotations = []
    for number, ids, segments in ((4, IDS, infos), (3, np.zeros_like(IDS), [])):
        Image.fromarray(np.full((3, 4, 3), number, np.uint8)).save(tmp_path / "images" / "val" / f"{number}.png")
        Image.fromarray(encode_ids(ids)).save(tmp_path / "annotations" / "panoptic_val" / f"{number}_mask.png")
        annotations.append({"image_id": number, "file_name": f"{number}_mask.png", "segments_info": segments})
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in (3, 4)],
        "annotations": annotations,
        "categories": [{"id": 9, "name": "person", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}],
    }
    (tmp_path / "annotations" / "panoptic_val.json").write_text(json.dumps(content))
    return tmp_path


def edit(root: Path, change: Callable[[Content], object]) -> None:
    path = root / "annotations" / "panoptic_val.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def assert_refused(action: Callable[[], object], *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_records_are_contiguous_and_complete(root: Path) -> None:
    dataset = CocoPanopticDataset(root, "val")
    assert [category.name for category in dataset.categories] == ["person", "sky"]
    assert len(dataset) == 2
    first, second = dataset[0], dataset[1]
    assert first.image.shape == (3, 3, 4)
    assert first.image.dtype == torch.uint8
    assert (first.image == 4).all()
    assert first.panoptic_map.dtype == torch.int32
    np.testing.assert_array_equal(first.panoptic_map.numpy(), IDS)
    assert first.segments == (Segment(70000, 0, True, 1.0, 3, True), Segment(300, 1, False, 1.0, 6, False))
    assert (first.image_id, first.file_name) == (4, "4.png")
    assert second.segments == ()
    assert not second.panoptic_map.any()
    assert pickle.loads(pickle.dumps(dataset))[0].segments == first.segments


def test_real_set(shared_data: Path) -> None:
    for split, count in (("train", 12), ("val", 6)):
        dataset = CocoPanopticDataset(shared_data / "nuclei-mini", split)
        assert len(dataset) == count
        for index in range(count):
            record = dataset[index]
            ids, areas = record.panoptic_map.unique(return_counts=True)
            found = dict(zip(ids.tolist(), areas.tolist(), strict=True))
            assert {segment.id: segment.area for segment in record.segments}.items() <= found.items()
            assert all(dataset.categories[s.category_id].is_thing == s.is_thing for s in record.segments)


def test_odd_layout_through_explicit_paths(shared_data: Path) -> None:
    sample = shared_data / "coco-sample"
    dataset = CocoPanopticDataset(sample, "any", images="input_images", annotations="panoptic_examples.json")
    assert [(c.id, c.name, c.is_thing) for c in dataset.categories] == [c[:3] for c in load_catalog("coco")]
    record = dataset[0]
    assert (record.image_id, record.file_name) == (142238, "000000142238.jpg")
    assert record.image.shape == (3, 427, 640)
    assert record.segments[0] == Segment(3937500, 0, True, 1.0, 3528)
    absolute = CocoPanopticDataset(
        ".",
        "any",
        images=sample / "input_images",
        annotations=sample / "panoptic_examples.json",
        masks=sample / "panoptic_examples",
    )
    assert absolute[1].segments == dataset[1].segments


def test_coco_names_and_a_json_beside_the_known_one(root: Path) -> None:
    (root / "images" / "val").rename(root / "val2017")
    for suffix in ("", ".json"):
        (root / "annotations" / f"panoptic_val{suffix}").rename(root / "annotations" / f"panoptic_val2017{suffix}")
    folder = root / "annotations" / "panoptic_val2017"
    for split in ("val", "val2017"):
        assert find_split(str(root), split) == (root / "val2017", folder.with_suffix(".json"), folder)
        assert len(CocoPanopticDataset(root, split)) == 2
    shutil.copy(folder.with_suffix(".json"), root / "annotations" / "other.json")
    dataset = CocoPanopticDataset(root, "val", annotations="annotations/other.json", masks=folder)
    assert dataset.paths == (root / "val2017", root / "annotations" / "other.json", folder)
    assert len(dataset[0].segments) == 2


def test_absent_split(root: Path) -> None:
    assert_refused(
        lambda: CocoPanopticDataset(root, "train"),
        f"{root} has no split 'train': looked for annotations/panoptic_train.json",
        "images/train/ or train/",
        "are there for: val",
    )
    shutil.rmtree(root / "images")
    assert_refused(lambda: find_split(root, "val"), "no split 'val'", "with images/val/ or val/")
    shutil.rmtree(root / "annotations")
    assert_refused(lambda: find_split(root, "val"), "are there for: no split")
    assert_refused(lambda: find_split(root / "absent", "val"), "absent is not a folder")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["annotations"].pop(), "1 entries have an image but no annotation (the first is id 3)"),
        (lambda c: c["images"].pop(), "1 entries have an annotation but no image (the first is id 4)"),
        (lambda c: c.pop("images"), "2 entries have an annotation but no image"),
        (lambda c: c["images"][1].update(id=3), "two images have the id 3"),
        (lambda c: c["annotations"][1].update(image_id=4), "two annotations have the image_id 4"),
        (lambda c: c["annotations"][0]["segments_info"][0].update(category_id=1), "segment 70000: the category id 1"),
        (lambda c: c.pop("categories"), "'categories' is missing"),
    ],
)
def test_a_broken_json_is_refused_at_once(root: Path, change: Callable[[Content], object], reason: str) -> None:
    edit(root, change)
    assert_refused(lambda: CocoPanopticDataset(root, "val"), "panoptic_val.json", reason)


def test_a_broken_record_is_refused_as_it_is_read(root: Path) -> None:
    dataset = CocoPanopticDataset(root, "val")
    mask = root / "annotations" / "panoptic_val" / "4_mask.png"
    Image.fromarray(encode_ids(IDS[:, :2])).save(mask)
    assert_refused(lambda: dataset[0], "4_mask.png has 3×2 pixels but", "4.png has 3×4")
    Image.fromarray(encode_ids(IDS + 1)).save(mask)
    assert_refused(lambda: dataset[0], "4_mask.png: ids [1, 301, 70001] are in the map")
    Image.fromarray(encode_ids(np.minimum(IDS, 300))).save(mask)
    assert_refused(lambda: dataset[0], "4_mask.png: segments [70000] are in the list")
    mask.unlink()
    assert_refused(lambda: dataset[0], "4_mask.png does not exist")
    (root / "images" / "val" / "3.png").unlink()
    assert_refused(lambda: dataset[1], "3.png does not exist")
