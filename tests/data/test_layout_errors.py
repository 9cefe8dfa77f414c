"""What is wrong with a data set ends in one line that names the file, and in exit status 2."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from axial_deeplab.cli import main
from axial_deeplab.data.convert.write import convert_dataset
from axial_deeplab.data.layouts.detect import list_split_images
from axial_deeplab.errors import InputError
from tests.data.convert_sources import edit_json, write_labelme, write_picture
from tests.data.layout_sources import assert_refused, remove, write_cityscapes, write_coco_panoptic, write_mapillary

PANOPTIC = "training/v2.0/panoptic"


def zip_masks(folder: Path) -> None:
    shutil.make_archive(str(folder), "zip", folder)
    remove(folder)


def rename_category(content: dict, position: int, name: str) -> None:
    content["categories"][position].update(name=name, supercategory=name)


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (lambda root: remove(root / "train2017"), ["has no split 'train2017'", "for: train2017, val2017"]),
        (
            lambda root: remove(root / "annotations/panoptic_train2017"),
            ["annotations/panoptic_train2017 is missing", "add the PNGs"],
        ),
        (
            lambda root: zip_masks(root / "annotations/panoptic_train2017"),
            ["annotations/panoptic_train2017 is missing", "unzip", "panoptic_train2017.zip there"],
        ),
        (
            lambda root: edit_json(
                root / "annotations/panoptic_train2017.json", lambda c: c["images"].append(c["images"][0])
            ),
            ["panoptic_train2017.json: two images have the id 9"],
        ),
        (
            lambda root: write_picture(root / "train2017/000000000010.jpg", (16, 12)),
            ["panoptic_train2017/000000000010.png has 12×16 pixels", "train2017/000000000010.jpg has 16×12"],
        ),
    ],
)
def test_coco(damage: Callable[[Path], object], parts: list[str], tmp_path: Path) -> None:
    root = write_coco_panoptic(tmp_path)
    damage(root)
    assert_refused(root, "train2017", *parts)


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (lambda root: remove(root / "config_v2.0.json"), ["config_v2.0.json cannot be read"]),
        (lambda root: remove(root / "training/images"), ["has no split 'train'", "there are validation, testing"]),
        (lambda root: remove(root / PANOPTIC), [f"{PANOPTIC}/panoptic_2020.json is missing", "version says 2.0"]),
        (
            lambda root: remove(root / "training/images/a-_x.jpg"),
            ["panoptic_2020.json: 1 of 2", "the first is a-_x.jpg"],
        ),
        (lambda root: remove(root / PANOPTIC / "a-_x.png"), [f"{PANOPTIC}/a-_x.png does not exist"]),
        (
            lambda root: write_picture(root / "training/images/b-_x.jpg", (12, 17)),
            [f"{PANOPTIC}/b-_x.png has 12×16 pixels", "b-_x.jpg has 12×17"],
        ),
        (
            lambda root: edit_json(root / PANOPTIC / "panoptic_2020.json", lambda c: rename_category(c, 1, "Curb")),
            ["panoptic_2020.json: category 2 is called 'Curb'", "ground animal", "same version"],
        ),
        (
            lambda root: edit_json(root / PANOPTIC / "panoptic_2020.json", lambda c: c["categories"][0].update(id=9)),
            ["panoptic_2020.json: category 9 is called 'Bird'", "no class"],
        ),
        (
            lambda root: edit_json(
                root / PANOPTIC / "panoptic_2020.json",
                lambda c: c["annotations"][0]["segments_info"][0].update(category_id=9),
            ),
            ["panoptic_2020.json, annotation 0", "the category id 9 is not in the class list"],
        ),
        (
            lambda root: edit_json(root / "config_v2.0.json", lambda c: c["labels"][1].pop("instances")),
            ["config_v2.0.json, label 1: the key 'instances' is missing"],
        ),
    ],
)
def test_mapillary(damage: Callable[[Path], object], parts: list[str], tmp_path: Path) -> None:
    root = write_mapillary(tmp_path, "1.2", "2.0")
    damage(root)
    assert_refused(root, "train", *parts, version="2.0")


def test_mixed_up_versions(tmp_path: Path) -> None:
    root = write_mapillary(tmp_path, "1.2")
    assert_refused(root, "train", f"{root} is Mapillary Vistas: say which version", "1.2 or 2.0")
    assert_refused(root, "train", "config_v2.0.json cannot be read", version="2.0")
    assert_refused(root, "train", "must be one of 1.2, 2.0, not '1.1'", version="1.1")
    shutil.copytree(write_mapillary(tmp_path / "new", "2.0") / "training/v2.0", root / "training/v2.0")
    shutil.copy(root / "config_v1.2.json", root / "config_v2.0.json")
    assert_refused(root, "train", "training/v2.0/panoptic/panoptic_2020.json: category 2 is called", version="2.0")
    assert_refused(write_cityscapes(tmp_path / "city"), "train", "data.version is for Mapillary Vistas", version="2.0")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"splits": ["val"]}, ["dataset.yaml has no split 'train': it lists val"]),
        ({"names": ["cat", "dog"]}, ["dataset.yaml: the lists differ in length (names 2, ids 3"]),
        ({"ids": [1, 1, 2]}, ["dataset.yaml", "the category id 1 repeats"]),
        ({"ids": [1, 2, 4]}, ["panoptic_train.json and", "dataset.yaml differ in the category 3"]),
        ({"isthing": [1, 0, 0]}, ["panoptic_train.json and", "dataset.yaml differ in the category 2"]),
        ({"colors": [[0, 0, 0], [0, 0, 256], []]}, ["dataset.yaml: class 1: 'color' must be"]),
        ({"names": None}, ["dataset.yaml: 'names' must be a list"]),
    ],
)
def test_description_of_a_set(change: dict, parts: list[str], tmp_path: Path) -> None:
    convert_dataset(write_labelme(tmp_path / "source"), tmp_path / "out")
    path = tmp_path / "out" / "dataset.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    assert_refused(tmp_path / "out", "train", *parts)


@pytest.mark.parametrize(
    ("text", "reason"), [("- a", "not a list"), ("a: [", "is not valid YAML"), ("\0", "is not valid")]
)
def test_description_that_is_none(text: str, reason: str, tmp_path: Path) -> None:
    convert_dataset(write_labelme(tmp_path / "source"), tmp_path / "out")
    (tmp_path / "out" / "dataset.yaml").write_text(text)
    assert_refused(tmp_path / "out", "train", "dataset.yaml", reason)


def test_no_layout_or_too_many(tmp_path: Path) -> None:
    assert_refused(tmp_path / "absent", "train", "absent is not a folder")
    assert_refused(tmp_path, "train", f"{tmp_path} has no known layout", "dataset convert")
    assert_refused(tmp_path, "train", "data.layout must be one of auto, coco, cityscapes", layout="city")
    root = write_coco_panoptic(write_cityscapes(tmp_path))
    assert_refused(root, "train", "looks like coco and cityscapes", "--data.layout")
    assert_refused(root, "train", "go with --data.layout coco", layout="cityscapes", images="images")


@pytest.mark.parametrize(
    ("write", "split", "images", "options"),
    [
        (write_cityscapes, "test", "leftImg8bit/test", {}),
        (write_coco_panoptic, "test2017", "test2017", {}),
        (write_coco_panoptic, "test-dev2017", "test2017", {}),
        (lambda root: write_mapillary(root, "2.0"), "test", "testing/images", {"version": "2.0"}),
    ],
)
def test_splits_without_labels(
    write: Callable[[Path], Path], split: str, images: str, options: dict, tmp_path: Path
) -> None:
    root = write(tmp_path)
    assert_refused(root, split, f"'{split}' comes without labels", f"predict segments {root / images}", **options)


def test_images_of_a_split_that_is_not_there(tmp_path: Path) -> None:
    root = write_coco_panoptic(tmp_path)
    for split, layout, reason in (
        ("extra", "auto", "has no images for 'extra'"),
        ("val", "cityscapes", "leftImg8bit/val is missing"),
        ("val", "mapillary", "has no split 'val'"),
        ("val", "city", "data.layout must be one of"),
    ):
        with pytest.raises(InputError, match=reason):
            list_split_images(root, split, layout=layout)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_command_line_ends_with_one_line_and_status_2(
    workers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_cityscapes(tmp_path / "data")
    for path in (root / "leftImg8bit/train").rglob("*.png"):
        write_picture(path, (96, 140))
    arguments = ["train", "cityscapes_axial_deeplab_s", "--model.name", "axial_deeplab_nano", "--data.root", str(root)]
    arguments += ["--augment.crop_size", "[33, 33]", "--batch_size", "1", "--data.workers", workers]
    assert main([*arguments, "--output", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.rpartition("axial-deeplab: ")[2].startswith(str(root / "gtFine/train"))
    assert last.endswith("scale neither alone")
    remove(root / "gtFine" / "val")
    assert main([*arguments, "--output", str(tmp_path / "other")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"axial-deeplab: {root / 'gtFine' / 'val'} is missing")
