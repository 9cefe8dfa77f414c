"""Miniature copies of data sets, laid out as their owners ship them, and what damages and refuses them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.panoptic_png import encode_ids
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticPrediction, Segment
from tests.data.convert_sources import write_json, write_picture
from tests.oracles.street_scenes import HEIGHT, WIDTH, make_scene

CITIES = {
    "train": ("aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313"),
    "val": ("frankfurt_000000_000294", "munster_000000_000019"),
    "test": ("berlin_000000_000019",),
}


def write_cityscapes(root: Path) -> Path:
    """Write images, instance ids and label ids; the labels of test are dummies, as in the original."""
    for split, names in CITIES.items():
        for seed, name in enumerate(names):
            folder = Path(split) / name.split("_")[0]
            write_picture(root / "leftImg8bit" / folder / f"{name}_leftImg8bit.png", (HEIGHT, WIDTH))
            scene = make_scene(seed)
            ids = np.ones_like(scene.instance_ids) if split == "test" else scene.instance_ids
            labels = np.ones_like(scene.labels) if split == "test" else scene.labels
            (root / "gtFine" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(ids.astype(np.uint16)).save(root / "gtFine" / folder / f"{name}_gtFine_instanceIds.png")
            Image.fromarray(labels).save(root / "gtFine" / folder / f"{name}_gtFine_labelIds.png")
    return root


def write_coco_panoptic(root: Path) -> Path:
    """Write two images each of train and val, with labels, and three of test, of which two are test-dev."""
    categories = load_catalog("coco")
    for split, first_id in (("train2017", 9), ("val2017", 139)):
        with PanopticWriter(root / "annotations" / f"panoptic_{split}.json", categories) as writer:
            for image_id in (first_id, first_id + 1):
                name = f"{image_id:012}.jpg"
                write_picture(root / split / name, (12, 16))
                writer.add(image_id, name, make_labels(categories))
    images: list[dict[str, Any]] = [{"id": image_id, "file_name": f"{image_id:012}.jpg"} for image_id in (1, 16, 20)]
    for image in images:
        write_picture(root / "test2017" / image["file_name"], (12, 16))
    write_json(root / "annotations" / "image_info_test2017.json", {"images": images})
    write_json(root / "annotations" / "image_info_test-dev2017.json", {"images": images[1:]})
    return root


def make_labels(categories: tuple[Category, ...]) -> PanopticPrediction:
    """Return a map of two things, a crowd, stuff and void; 12x16 pixels."""
    thing = next(position for position, category in enumerate(categories) if category.is_thing)
    stuff = next(position for position, category in enumerate(categories) if not category.is_thing)
    ids = torch.zeros(12, 16, dtype=torch.int32)
    ids[4:] = 300
    ids[2:6, 1:5], ids[2:6, 6:9], ids[8:, 10:] = 70000, 70001, 5
    segments = [
        Segment(70000, thing, True),
        Segment(70001, thing, True),
        Segment(5, thing, True, is_crowd=True),
        Segment(300, stuff, False),
    ]
    return PanopticPrediction(ids, segments)


MAPILLARY_LABELS = {
    "1.2": [("Bird", "animal--bird", True), ("Curb", "construction--barrier--curb", False)],
    "2.0": [
        ("Bird", "animal--bird", True),
        ("Ground Animal", "animal--ground-animal", True),
        ("Ambiguous Barrier", "construction--barrier--ambiguous", False),
        ("Curb", "construction--barrier--curb", False),
    ],
}


def write_mapillary(root: Path, *versions: str) -> Path:
    """Write the images, and labels of the given versions: a bird, a curb, and segments of a class that is not evaluated."""
    for split, names in (("training", "ab"), ("validation", "c"), ("testing", "de")):
        for name in names:
            write_picture(root / split / "images" / f"{name}-_x.jpg", (12, 16))
    for version in versions:
        labels = [
            {"readable": readable, "name": name, "instances": things, "evaluate": True, "color": [9, number, 200]}
            for number, (readable, name, things) in enumerate(MAPILLARY_LABELS[version])
        ]
        unlabeled = {"readable": "Unlabeled", "name": "void--unlabeled", "instances": False, "evaluate": False}
        labels.append(unlabeled | {"color": [0, 0, 0]})
        write_json(root / f"config_v{version}.json", {"labels": labels, "version": version})
        for split, names in (("training", "ab"), ("validation", "c")):
            _write_mapillary_split(root / split, version, names, labels)
    return root


def _write_mapillary_split(folder: Path, version: str, names: str, labels: list[dict[str, Any]]) -> None:
    panoptic = folder / f"v{version}" / "panoptic"
    panoptic.mkdir(parents=True)
    ids = np.repeat([[0, 8000000, 77, 1234]], 3, axis=0).repeat(4, 0).repeat(4, 1)
    curb = next(number for number, label in enumerate(labels, start=1) if label["readable"] == "Curb")
    rows = ((8000000, 1, 0), (77, curb, 0), (1234, len(labels), 0))
    segments = [{"id": number, "category_id": label, "iscrowd": crowd, "area": 48} for number, label, crowd in rows]
    annotations = []
    for name in names:
        Image.fromarray(encode_ids(ids)).save(panoptic / f"{name}-_x.png")
        entry = {"image_id": f"{name}-_x", "file_name": f"{name}-_x.png", "segments_info": segments}
        annotations.append(entry)
    content = {
        "images": [{"id": f"{name}-_x", "file_name": f"{name}-_x.jpg", "width": 16, "height": 12} for name in names],
        "annotations": annotations,
        "categories": [
            {
                "id": number,
                "name": label["readable"],
                "supercategory": label["name"],
                "isthing": int(label["instances"]),
            }
            for number, label in enumerate(labels, start=1)
        ],
    }
    write_json(panoptic / {"1.2": "panoptic_2018.json", "2.0": "panoptic_2020.json"}[version], content)


def assert_refused(root: Path, split: str, *parts: str, **options: str) -> None:
    """Check that opening a split and reading all of it fails in one line."""
    with pytest.raises(InputError) as caught:
        list(CocoPanopticDataset(root, split, **options))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def repaint(path: Path, old: int, new: int) -> None:
    pixels = np.array(Image.open(path))
    assert (pixels == old).any()
    pixels[pixels == old] = new
    Image.fromarray(pixels).save(path)
