"""Sets in folders: order, labels, names of classes; bad input in one line; damaged images are passed over."""

from pathlib import Path

import pytest
import torch

from axial_deeplab.data.classification.decode import decode_image
from axial_deeplab.data.classification.image_tree import ImageTree
from axial_deeplab.data.classification.readable import take_readable
from axial_deeplab.data.classification.records import ClassifiedImage, EncodedImage
from axial_deeplab.data.classification.splits import open_classified
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category
from tests.data.classification.photos import write_tree

FLOWERS = {"train/rose": 2, "train/daisy": 3, "val/daisy": 1, "val/rose": 1}


def decode(encoded: EncodedImage) -> ClassifiedImage:
    return ClassifiedImage(decode_image(encoded.data, encoded.file_name), encoded.label, encoded.file_name)


def test_images_come_by_class_and_name(tmp_path: Path) -> None:
    write_tree(tmp_path, FLOWERS)
    (tmp_path / "train" / ".hidden").mkdir()
    (tmp_path / "train" / "rose" / ".1.jpg").write_bytes(b"")
    (tmp_path / "train" / "rose" / "credits.txt").write_bytes(b"")
    (tmp_path / "train" / "rose" / "more").mkdir()
    (tmp_path / "train" / "rose" / "1.jpg").rename(tmp_path / "train" / "rose" / "more" / "ü.JPEG")
    train, val = open_classified(tmp_path, "train", "val")
    assert train.categories == val.categories == (Category(0, "daisy", False), Category(1, "rose", False))
    names = ["daisy/0.jpg", "daisy/1.jpg", "daisy/2.jpg", "rose/0.jpg", "rose/more/ü.JPEG"]
    assert [train.read(index).file_name for index in range(len(train))] == names
    assert [train[index].label for index in range(len(train))] == [0, 0, 0, 1, 1]
    assert (train[4].image.shape, train[4].image.dtype) == ((3, 40, 48), torch.uint8)
    assert train.read(2).data == (tmp_path / "train" / "daisy" / "2.jpg").read_bytes()


def test_classes_have_readable_names(tmp_path: Path) -> None:
    write_tree(tmp_path, FLOWERS)
    (tmp_path / "LOC_synset_mapping.txt").write_text("daisy Bellis perennis, lawn daisy\n\nrose Rosa\ntulip Tulipa\n")
    assert [c.name for c in ImageTree(tmp_path, "val").categories] == ["Bellis perennis, lawn daisy", "Rosa"]
    (tmp_path / "classes.json").write_text('{"rose": "Rose"}')
    assert [c.name for c in ImageTree(tmp_path, "val").categories] == ["daisy", "Rose"]


@pytest.mark.parametrize("text", ["{", "[]", '{"rose": 1}'])
def test_malformed_names_are_refused(tmp_path: Path, text: str) -> None:
    write_tree(tmp_path, {"val/rose": 1})
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(InputError, match=r"classes\.json (is no JSON|must map)"):
        ImageTree(tmp_path, "val")


def test_absent_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train does not exist"):
        ImageTree(tmp_path, "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"train has no folder of a class"):
        ImageTree(tmp_path, "train")
    write_tree(tmp_path, {"train/daisy": 1, "train/rose": 0})
    with pytest.raises(InputError, match=r"train/rose has no image"):
        ImageTree(tmp_path, "train")


def test_unequal_classes_are_named(tmp_path: Path) -> None:
    write_tree(tmp_path, FLOWERS | {"train/tulip": 1, "val/aster": 1})
    with pytest.raises(InputError, match=r"train and val differ in classes: only train has tulip; only val has aster"):
        open_classified(tmp_path, "train", "val")


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    tree = ImageTree(write_tree(tmp_path, FLOWERS), "val")
    (tmp_path / "val" / "rose" / "0.jpg").unlink()
    with pytest.raises(InputError, match=r"val/rose/0\.jpg cannot be read"):
        tree[1]


def test_the_next_readable_image_takes_the_place(tmp_path: Path) -> None:
    tree = ImageTree(write_tree(tmp_path, FLOWERS), "train")
    for name in ("daisy/2.jpg", "rose/0.jpg"):
        path = tmp_path / "train" / name
        path.write_bytes(path.read_bytes()[:200])
    results = [take_readable(tree, index, decode) for index in range(len(tree))]
    files = ["daisy/0.jpg", "daisy/1.jpg", "rose/1.jpg", "rose/1.jpg", "rose/1.jpg"]
    assert [result.file_name for result in results] == files
    assert [result.label for result in results] == [0, 0, 1, 1, 1]
    assert [[text.split()[0] for text in result.damaged] for result in results] == [
        [],
        [],
        ["daisy/2.jpg", "rose/0.jpg"],
        ["rose/0.jpg"],
        [],
    ]


def test_the_last_image_is_replaced_by_the_first(tmp_path: Path) -> None:
    tree = ImageTree(write_tree(tmp_path, FLOWERS), "train")
    (tmp_path / "train" / "rose" / "1.jpg").write_bytes(b"")
    assert take_readable(tree, 4, decode).file_name == "daisy/0.jpg"


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    tree = ImageTree(write_tree(tmp_path, {"train/daisy": 2}), "train")
    for path in (tmp_path / "train" / "daisy").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"in a row cannot be read, the first: daisy/0\.jpg"):
        take_readable(tree, 0, decode)
