"""Every source format becomes a set that the reader takes, with the same pixels."""

import base64
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from axial_deeplab.cli import main
from axial_deeplab.commands.dataset_convert import FORMAT_NAMES
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.convert.detect import FORMATS, detect_format
from axial_deeplab.data.convert.write import ConvertOptions, convert_dataset
from axial_deeplab.data.panoptic_png import read_ids
from axial_deeplab.records import PanopticRecord
from tests.data.convert_sources import (
    OVERLAPPED,
    WRITERS,
    edit_json,
    encode_png,
    get_corners,
    make_classes,
    write_coco,
    write_cvat_masks,
    write_instance_maps,
    write_json,
    write_labelme,
    write_picture,
    write_semantic,
    write_yolo,
)


def read_names(dataset: CocoPanopticDataset, record: PanopticRecord) -> np.ndarray:
    """Return the class name of every pixel, "" for void."""
    names = {segment.id: dataset.categories[segment.category_id].name for segment in record.segments} | {0: ""}
    return np.vectorize(names.__getitem__)(record.panoptic_map.numpy())


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_pixels(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "source")
    assert detect_format(root) == name
    report = convert_dataset(root, tmp_path / "out")
    assert (report.format, dict(report.images)) == (name, {"train": 2})
    dataset = CocoPanopticDataset(tmp_path / "out", "train")
    things = ["object", "object"] if name == "instance-maps" else ["cat", "dog"]
    kinds = {category.name: category.is_thing for category in dataset.categories}
    assert kinds == {"background": False} | dict.fromkeys(things, True)
    for record in dataset:
        expected = np.array(["background", *things])[make_classes()]
        np.testing.assert_array_equal(read_names(dataset, record), expected)
        assert [s.is_crowd for s in record.segments] == [False] * 3
        assert sorted(s.area for s in record.segments) == [12, 16, 20]
    overlapped = OVERLAPPED if name in ("labelme", "coco", "yolo") else 0
    assert (report.overlapped, report.hidden, report.empty, report.void) == (overlapped, 0, 0, 0)
    assert report.segments.total() == 6
    assert [path.name for path in tmp_path.iterdir()].count("out") == 1
    assert not list(tmp_path.glob(".*"))


def test_command_line_knows_the_formats() -> None:
    assert tuple(FORMATS) == FORMAT_NAMES == tuple(WRITERS)


def test_command_prints_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_labelme(tmp_path / "source")
    arguments = ["dataset", "convert", str(root), "--output", str(tmp_path / "out"), "--split", "0.5", "--stuff", "dog"]
    assert main([*arguments, "--unlabeled", "background"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "labelme: 2 images (train 1, val 1)" or lines[0] == "labelme: 2 images (val 1, train 1)"
    assert ["dog", "stuff", "2", "33.3%"] in [line.split() for line in lines]
    assert f"overlapped: {OVERLAPPED} pixels under later shapes, in 2 images" in lines[-3]
    assert main(arguments) == 2
    assert "is not empty" in capsys.readouterr().err


def test_dataset_yaml(tmp_path: Path) -> None:
    convert_dataset(write_coco(tmp_path / "source"), tmp_path / "out")
    content = yaml.safe_load((tmp_path / "out" / "dataset.yaml").read_text())
    categories = CocoPanopticDataset(tmp_path / "out", "train").categories
    assert content == {
        "names": ["cat", "dog", "background"],
        "ids": [3, 5, 6],
        "isthing": [1, 1, 0],
        "colors": [list(category.color or ()) for category in categories],
        "splits": ["train"],
    }
    assert len({tuple(color) for color in content["colors"]}) == 3


@pytest.mark.parametrize("name", WRITERS)
def test_other_files_do_not_disturb(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "source")
    (root / "notes.json").write_text("[1, 2]")
    for hidden in [*root.rglob("*.json"), *root.rglob("*.txt"), *root.rglob("*.png")]:
        hidden.with_name(f"._{hidden.name}").write_bytes(b"\0\xff")
    assert convert_dataset(root, tmp_path / "out").format == name


@pytest.mark.parametrize("copy", [False, True])
def test_images_are_the_same_files(copy: bool, tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "source")
    convert_dataset(root, tmp_path / "out", ConvertOptions(copy=copy))
    before, after = root / "images" / "a.png", tmp_path / "out" / "images" / "train" / "a.png"
    assert os.path.samefile(before, after) is not copy
    assert before.read_bytes() == after.read_bytes()


def test_images_are_copied_where_links_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    convert_dataset(write_yolo(tmp_path / "source"), tmp_path / "out")
    assert len(CocoPanopticDataset(tmp_path / "out", "train")) == 2


def test_labelme_joins_groups_and_takes_circles_masks_and_embedded_images(tmp_path: Path) -> None:
    picture = tmp_path / "source" / "deep" / "a.png"
    write_picture(picture)
    shapes = [
        {"label": "cat", "points": [[0, 0], [2, 0], [2, 2], [0, 2]], "group_id": 4},
        {"label": "cat", "points": [[0, 4], [2, 4], [2, 6], [0, 6]], "group_id": 4},
        {"label": "cat", "points": [[1, 5], [1, 6]], "shape_type": "circle"},
        {"label": "dog", "points": [[6, 4], [8, 5]], "shape_type": "mask", "mask": encode_png(np.eye(2, 3))},
        {"label": "__ignore__", "points": [[6, 0], [8, 1]], "shape_type": "rectangle"},
        {"label": "_background_", "points": [[4, 0], [5, 1]], "shape_type": "rectangle"},
        {"label": "dog", "points": [[3, 3], [3.2, 3], [3.2, 3.2]]},
    ]
    image_data = base64.b64encode(picture.read_bytes()).decode()
    picture.unlink()
    content = {"shapes": shapes, "imagePath": "..\\gone\\a.png", "imageData": image_data}
    write_json(tmp_path / "source" / "train" / "a.json", content)
    report = convert_dataset(tmp_path / "source", tmp_path / "out")
    dataset = CocoPanopticDataset(tmp_path / "out", "train")
    ids = np.asarray(dataset[0].panoptic_map)
    names = read_names(dataset, dataset[0])
    assert dataset[0].file_name == "a.png"
    # A circle of radius 1 around (1, 5) holds the four pixel centers around it: it hides one part of the group.
    assert ids[0, 0] == ids[1, 1] != ids[4, 0]
    assert (ids[4:6, :2] == ids[4, 0]).all()
    assert (names == "cat").sum() == 8
    # The mask's box counts inclusively and is cut at the right border.
    assert list(zip(*np.nonzero(names == "dog"), strict=True)) == [(4, 6), (5, 7)]
    assert (names[0, 6:] == "").all()
    assert report.void == 2
    assert (report.overlapped, report.hidden, report.empty) == (4, 0, 1)


def test_labelme_takes_labels_txt(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "source")
    (root / "labels.txt").write_text("__ignore__\n_background_\ndog\ncat\n")
    convert_dataset(root, tmp_path / "out")
    names = [category.name for category in CocoPanopticDataset(tmp_path / "out", "train").categories]
    assert names == ["background", "dog", "cat"]


def test_later_shapes_hide_earlier_ones_whole(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "source")
    big = {"label": "dog", "points": [[-5, -5], [20, 20]], "shape_type": "rectangle"}
    edit_json(root / "a.json", lambda content: content["shapes"].append(big))
    report = convert_dataset(root, tmp_path / "out")
    assert report.hidden == 2
    assert report.overlapped == 4 + 4 + 28
    assert report.overlapped_images == {"train/a.png": 32, "train/b.png": 4}


def test_stuff_is_one_segment_and_leaves_the_rest_void(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "source")
    more = "1 0.875 0 1 0 1 0.2 0.875 0.2\n"
    for name in "ab":
        with (root / "labels" / f"{name}.txt").open("a") as file:
            file.write(more)
    report = convert_dataset(root, tmp_path / "out", ConvertOptions(stuff=("dog",)))
    dataset = CocoPanopticDataset(tmp_path / "out", "train")
    assert [(c.name, c.is_thing) for c in dataset.categories] == [("cat", True), ("dog", False)]
    assert [segment.area for segment in dataset[0].segments] == [12, 17]
    assert report.void == 2 * (48 - 12 - 17)


def test_coco_takes_compressed_runs_crowds_and_several_files(tmp_path: Path) -> None:
    root = tmp_path / "source"
    # The square of DOG_BOX in column order: runs of 14, 4, 2, 4, 2, 4, 2, 4, 12.
    segmentation = {"size": [6, 8], "counts": ">4200000:"}
    for split in ("train", "val"):
        write_picture(root / f"{split}2017" / "x.png")
        crowd = {"id": 1, "image_id": 7, "category_id": 3, "iscrowd": 1, "segmentation": [[0, 0, 8, 0, 8, 3, 0, 3]]}
        thing = {"id": 2, "image_id": 7, "category_id": 3, "iscrowd": 0, "segmentation": segmentation}
        content = {
            "images": [{"id": 7, "file_name": "x.png"}],
            "annotations": [thing, crowd],
            "categories": [{"id": 3, "name": "cat"}],
        }
        write_json(root / "annotations" / f"instances_{split}2017.json", content)
        write_json(root / "annotations" / f"captions_{split}2017.json", {"images": [], "annotations": []})
    report = convert_dataset(root, tmp_path / "out")
    assert dict(report.images) == {"train": 1, "val": 1}
    dataset = CocoPanopticDataset(tmp_path / "out", "val")
    areas = {(dataset.categories[s.category_id].name, s.is_crowd): s.area for s in dataset[0].segments}
    assert areas == {("cat", False): 16, ("cat", True): 20, ("background", False): 12}
    report = convert_dataset(root, tmp_path / "pooled", ConvertOptions(split=0.5))
    record = CocoPanopticDataset(tmp_path / "pooled", "train")[0]
    assert record.file_name in ("train/x.png", "val/x.png")
    assert dict(report.images) == {"train": 1, "val": 1}


def test_cvat_keeps_splits_of_image_sets(tmp_path: Path) -> None:
    root = write_cvat_masks(tmp_path / "source")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("b\n")
    report = convert_dataset(root, tmp_path / "out")
    assert dict(report.images) == {"train": 1, "val": 1}
    assert CocoPanopticDataset(tmp_path / "out", "val")[0].file_name == "b.png"


def test_palettes_count_by_color_in_cvat_and_by_index_in_maps(tmp_path: Path) -> None:
    root = write_cvat_masks(tmp_path / "cvat")
    for path in root.glob("Segmentation*/*.png"):
        with Image.open(path) as image:
            image.convert("P", palette=Image.Palette.ADAPTIVE).save(path)
    convert_dataset(root, tmp_path / "out")
    dataset = CocoPanopticDataset(tmp_path / "out", "train")
    np.testing.assert_array_equal(
        read_names(dataset, dataset[0]), np.array(["background", "cat", "dog"])[make_classes()]
    )
    root = write_semantic(tmp_path / "semantic")
    for path in root.glob("semantic/*.png"):
        with Image.open(path) as image:
            indices = image.copy()
        indices.putpalette([200, 10, 10] * 3)
        assert indices.mode == "P"
        indices.save(path)
    assert convert_dataset(root, tmp_path / "again").segments.total() == 6


def test_yolo_in_split_folders_with_images_without_objects(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "source")
    for folder in ("images", "labels"):
        (root / "valid" / folder).mkdir(parents=True)
    write_picture(root / "valid" / "images" / "nothing.png")
    report = convert_dataset(root, tmp_path / "out")
    assert dict(report.images) == {"train": 2, "val": 1}
    assert [segment.area for segment in CocoPanopticDataset(tmp_path / "out", "val")[0].segments] == [48]


@pytest.mark.parametrize(
    ("dtype", "suffix"), [("uint8", ".png"), ("uint16", ".png"), ("uint16", ".tif"), ("int32", ".tiff")]
)
def test_instance_maps_of_any_depth(dtype: str, suffix: str, tmp_path: Path) -> None:
    root = write_instance_maps(tmp_path / "source", dtype, suffix)
    convert_dataset(root, tmp_path / "out", ConvertOptions(classes=("nucleus",)))
    dataset = CocoPanopticDataset(tmp_path / "out", "train")
    assert [c.name for c in dataset.categories] == ["nucleus", "background"]
    assert sorted(segment.area for segment in dataset[0].segments) == [12, 16, 20]


def test_instance_maps_beside_the_images(tmp_path: Path) -> None:
    root = tmp_path / "source"
    for stem in ("x", "y_img"):
        write_picture(root / f"{stem}.png")
        labels = root / f"{stem.removesuffix('_img')}_masks.png"
        Image.fromarray(make_classes().astype(np.uint8)).save(labels)
    report = convert_dataset(root, tmp_path / "out")
    assert (report.format, dict(report.images)) == ("instance-maps", {"train": 2})
    names = sorted(record.file_name for record in CocoPanopticDataset(tmp_path / "out", "train"))
    assert names == ["x.png", "y_img.png"]


def test_semantic_alone_is_all_stuff(tmp_path: Path) -> None:
    root = write_semantic(tmp_path / "source", instances=False)
    values = make_classes().astype(np.uint8)
    values[0, 7] = 255
    Image.fromarray(values).save(root / "semantic" / "a.png")
    report = convert_dataset(root, tmp_path / "out")
    dataset = CocoPanopticDataset(tmp_path / "out", "train")
    assert not any(category.is_thing for category in dataset.categories)
    assert dataset[0].panoptic_map[0, 7] == 0
    assert report.void == 1


def test_things_without_instance_id_are_a_crowd(tmp_path: Path) -> None:
    root = write_semantic(tmp_path / "source")
    Image.fromarray(((make_classes() == 2) * 1).astype(np.uint8)).save(root / "instances" / "a.png")
    convert_dataset(root, tmp_path / "out")
    dataset = CocoPanopticDataset(tmp_path / "out", "train")
    crowds = {dataset.categories[s.category_id].name: s.is_crowd for s in dataset[0].segments}
    assert crowds == {"background": False, "cat": True, "dog": False}


def test_classes_json_says_ids_and_things(tmp_path: Path) -> None:
    root = write_semantic(tmp_path / "source")
    (root / "classes.txt").unlink()
    names = ("ground", "cat", "dog")
    categories = [{"id": n, "name": name, "isthing": int(name == "cat")} for n, name in enumerate(names)]
    write_json(root / "classes.json", {"categories": categories})
    convert_dataset(root, tmp_path / "out")
    dataset = CocoPanopticDataset(tmp_path / "out", "train")
    assert [(c.id, c.name, c.is_thing) for c in dataset.categories] == [
        (0, "ground", False),
        (1, "cat", True),
        (2, "dog", False),
    ]


def test_turned_photos_are_drawn_as_the_reader_sees_them(tmp_path: Path) -> None:
    root = write_yolo(tmp_path / "source")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((8, 6, 3), np.uint8)).save(root / "images" / "a.png", exif=exif)
    convert_dataset(root, tmp_path / "out")
    record = CocoPanopticDataset(tmp_path / "out", "train")[0]
    assert record.image.shape[1:] == record.panoptic_map.shape == torch.Size([6, 8])


def test_polygons_of_neighbors_do_not_overlap(tmp_path: Path) -> None:
    root = write_labelme(tmp_path / "source")
    halves = [
        {"label": "cat", "points": [[0, 0], [8, 0], [0, 6]]},
        {"label": "dog", "points": [[8, 0], [8, 6], [0, 6]]},
        {"label": "cat", "points": get_corners((0, 0, 0, 6))},
    ]
    edit_json(root / "a.json", lambda content: content.update(shapes=halves))
    (root / "b.json").unlink()
    report = convert_dataset(root, tmp_path / "out")
    assert (report.overlapped, report.empty) == (0, 1)
    assert report.pixels[0] + report.pixels[1] == 48


def test_real_nuclei_as_instance_maps(shared_data: Path, tmp_path: Path) -> None:
    truth = CocoPanopticDataset(shared_data / "nuclei-mini", "val")
    (tmp_path / "source" / "labels").mkdir(parents=True)
    (tmp_path / "source" / "images").symlink_to(truth.paths.images)
    expected = {}
    for record in truth:
        things = [segment.id for segment in record.segments if segment.is_thing]
        ids = np.where(np.isin(record.panoptic_map, things), record.panoptic_map, 0)
        expected[record.file_name] = ids
        Image.fromarray(ids.astype(np.int32)).save(
            tmp_path / "source" / "labels" / f"{Path(record.file_name).stem}.tif"
        )
    report = convert_dataset(tmp_path / "source", tmp_path / "out", ConvertOptions(copy=True))
    assert report.images.total() == len(truth)
    dataset = CocoPanopticDataset(tmp_path / "out", "train")
    for record in dataset:
        ids = read_ids(dataset.paths.masks / Path(record.file_name).with_suffix(".png"))
        pairs = np.unique(np.stack([ids.ravel(), expected[record.file_name].ravel()]), axis=1)
        assert pairs.shape[1] == len(np.unique(ids)) == len(np.unique(expected[record.file_name]))
