"""What is wrong with Cityscapes on disk ends in one line that names the file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from axial_deeplab.data.layouts.cityscapes import check_label_ids
from axial_deeplab.errors import InputError
from tests.data.convert_sources import edit_json, write_picture
from tests.data.layout_sources import CITIES, assert_refused, remove, repaint, write_cityscapes
from tests.oracles.cityscapes_panoptic import write_panoptic_files

NAME = CITIES["train"][0]
IMAGE = f"leftImg8bit/train/aachen/{NAME}_leftImg8bit.png"
INSTANCES = f"gtFine/train/aachen/{NAME}_gtFine_instanceIds.png"
LABELS = f"gtFine/train/aachen/{NAME}_gtFine_labelIds.png"
OFFICIAL = "gtFine/cityscapes_panoptic_train"


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (lambda root: remove(root / "leftImg8bit"), ["leftImg8bit/train is missing", "no split"]),
        (lambda root: remove(root / "leftImg8bit" / "train"), ["leftImg8bit/train is missing", "has test, val"]),
        (lambda root: remove(root / "gtFine" / "train"), ["gtFine/train is missing", "gtFine_trainvaltest.zip"]),
        (lambda root: remove(root / IMAGE), ["gtFine/train: 1 of 3 have no partner", f"the first is {NAME})"]),
        (lambda root: remove(root / INSTANCES), ["leftImg8bit/train: 1 of 3 have no partner", f"the first is {NAME})"]),
        (lambda root: repaint(root / INSTANCES, 24000, 34000), ["labelIds.png and", "differ, in a pixel with 24"]),
        (
            lambda root: repaint(root / LABELS, 24, 11),
            ["_labelIds.png and", "_instanceIds.png differ, in a pixel with 11"],
        ),
        (
            lambda root: write_picture(root / IMAGE, (96, 140)),
            [f"{INSTANCES} has 96×144 pixels", f"{IMAGE} has 96×140"],
        ),
        (lambda root: write_picture(root / INSTANCES), [f"{INSTANCES} is a color picture"]),
        (lambda root: (root / INSTANCES).write_bytes(b"\x89PNG"), [f"{INSTANCES} cannot be read"]),
        (
            lambda root: shutil.copy(root / IMAGE, root / "leftImg8bit/train/bochum"),
            [f"bochum/{NAME}_leftImg8bit.png has the same id as", f"aachen/{NAME}_leftImg8bit.png"],
        ),
    ],
)
def test_cityscapes(damage: Callable[[Path], object], parts: list[str], tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path)
    damage(root)
    assert_refused(root, "train", *parts)


def test_labels_that_cityscapes_does_not_have(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path)
    remove(root / LABELS)
    repaint(root / INSTANCES, 24000, 34001)
    assert_refused(root, "train", f"{INSTANCES}: the id 34001 has the label 34", "0 .. 33")


def test_label_ids_of_another_size(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path)
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(root / LABELS)
    with pytest.raises(InputError, match=r"_labelIds\.png and .*_instanceIds\.png differ in size"):
        check_label_ids(root / INSTANCES)


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (lambda root: remove(root / OFFICIAL), [f"{OFFICIAL} is missing", "write both again"]),
        (lambda root: remove(root / IMAGE), [f"{OFFICIAL}.json: 1 of 3 have no partner", NAME]),
        (
            lambda root: edit_json(root / f"{OFFICIAL}.json", lambda c: c["annotations"].pop()),
            ["leftImg8bit/train: 1 of 3 have no partner", f"{OFFICIAL}.json"],
        ),
        (
            lambda root: edit_json(root / f"{OFFICIAL}.json", lambda c: c["categories"][0].update(id=0)),
            [f"{OFFICIAL}.json: 'categories' differs", "road (0), road (7)"],
        ),
        (
            lambda root: edit_json(
                root / f"{OFFICIAL}.json", lambda c: c["annotations"][0]["segments_info"][0].update(category_id=4)
            ),
            [f"{OFFICIAL}.json, annotation 0", "the category id 4 is not in the class list"],
        ),
        (lambda root: (root / f"{OFFICIAL}.json").write_text("{"), [f"{OFFICIAL}.json is not valid JSON"]),
    ],
)
def test_official_files_of_cityscapes(damage: Callable[[Path], object], parts: list[str], tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path)
    write_panoptic_files(root, "train")
    damage(root)
    assert_refused(root, "train", *parts)


def test_train_ids_under_the_wrong_name(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path)
    write_panoptic_files(root, "train", train_ids=True).rename(root / f"{OFFICIAL}.json")
    (root / f"{OFFICIAL}_trainId").rename(root / OFFICIAL)
    assert_refused(root, "train", f"{OFFICIAL}.json: 'categories' differs from the class list in road (0)")
