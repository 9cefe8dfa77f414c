"""What is wrong with a source ends in one line that names the file, exit status 2, and no output."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from axial_deeplab.cli import main
from tests.data.convert_sources import WRITERS, edit_json, write_json

Change = Callable[[Path], object]
INSTANCES = "annotations/instances_default.json"


def edit(name: str, /, **values: Any) -> Change:
    """Set keys of a JSON file."""
    return lambda root: edit_json(root / name, lambda content: content.update(values))


def edit_first(name: str, key: str, /, **values: Any) -> Change:
    """Set keys of the first entry of a list in a JSON file."""
    return lambda root: edit_json(root / name, lambda content: content[key][0].update(values))


def repeat_first(key: str) -> Change:
    return lambda root: edit_json(root / INSTANCES, lambda content: content[key].append(content[key][0]))


def write(name: str, text: str) -> Change:
    return lambda root: (root / name).write_text(text)


def remove(name: str) -> Change:
    return lambda root: (root / name).unlink()


def move(name: str) -> Change:
    return lambda root: (root / name).rename(root / "elsewhere")


def save(name: str, values: np.ndarray) -> Change:
    return lambda root: Image.fromarray(values).save(root / name)


SMALL = np.zeros((5, 8), np.uint8)
RGB = np.full((6, 8, 3), 7, np.uint8)

CASES: list[tuple[str, Change, str]] = [
    ("labelme", edit("a.json", imageHeight=8, imageWidth=6), "a.json is for 8×6 pixels (height×width) but"),
    ("labelme", edit("a.json", imageHeight=8, imageWidth=6), "a quarter turn, as EXIF"),
    ("labelme", edit("a.json", imagePath="gone.png"), "a.json (its image 'gone.png' does not exist)"),
    ("labelme", edit("a.json", imagePath="gone.png", imageData="%%"), "a.json: the base64 text of an image is damaged"),
    (
        "labelme",
        edit("a.json", imagePath="gone.png", imageData="aaaa"),
        "gone.png: the image of 3 bytes cannot be read",
    ),
    ("labelme", edit("b.json", imagePath="a.png"), "a.png is annotated 2 times"),
    ("labelme", edit_first("a.json", "shapes", shape_type="line"), "a.json, shape 0: a line has no area"),
    ("labelme", edit_first("a.json", "shapes", points=[[1, 2]]), "a.json, shape 0: has 1 points, needs at least 3"),
    ("labelme", edit_first("a.json", "shapes", points=["x"]), "a.json, shape 0: the points must be pairs of numbers"),
    ("labelme", edit_first("a.json", "shapes", label=None), "a.json, shape 0: the key 'label' is missing"),
    ("labelme", write("labels.txt", "dog\n"), "a.json, shape 0: the label 'cat' is unknown"),
    ("labelme", write("labels.txt", "dog\ndog\n"), "labels.txt: the class 'dog' is there twice"),
    ("labelme", write("a.json", "{"), "a.json is not valid JSON"),
    ("labelme", write("a.png", "no image"), "a.png cannot be read as an image"),
    (
        "labelme",
        edit_first("a.json", "shapes", shape_type="mask", points=[[0, 0], [1, 1]], mask="aaaa"),
        "a.json, shape 0 cannot be read as PNG",
    ),
    ("cvat-masks", move("JPEGImages"), "JPEGImages is missing: export with 'Save images'"),
    ("cvat-masks", move("SegmentationObject"), "SegmentationObject is missing"),
    ("cvat-masks", remove("labelmap.txt"), "labelmap.txt cannot be read"),
    ("cvat-masks", write("labelmap.txt", "cat:10,20:"), "labelmap.txt, line 1: must be 'name:red,green,blue"),
    ("cvat-masks", write("labelmap.txt", "cat:1,2,3::\ndog:1,2,3::"), "labelmap.txt: two classes have the same color"),
    ("cvat-masks", write("labelmap.txt", "cat:10,20,30::"), "a.png: the color (40, 50, 60) is not in labelmap.txt"),
    ("cvat-masks", remove("SegmentationObject/b.png"), "b.png has no partner b.* in"),
    ("cvat-masks", save("SegmentationObject/b.png", SMALL), "SegmentationObject/b.png is for 5×8 pixels"),
    ("cvat-masks", write("SegmentationClass/b.png", ""), "SegmentationClass/b.png cannot be read as PNG"),
    ("coco", remove("images/a.png"), "instances_default.json names a.png, which does not exist"),
    ("coco", repeat_first("images"), "instances_default.json: two images have the id 7"),
    ("coco", repeat_first("annotations"), "instances_default.json: two annotations have the id 0"),
    ("coco", edit_first(INSTANCES, "categories", id=5), "instances_default.json: two categories have the id 5"),
    ("coco", edit_first(INSTANCES, "categories", name="dog"), "the class 'dog' is there twice"),
    ("coco", edit_first(INSTANCES, "images", height=5), "instances_default.json is for 5×8 pixels"),
    ("coco", edit_first(INSTANCES, "annotations", image_id=99), "annotations belong to image 99, which is not listed"),
    ("coco", edit_first(INSTANCES, "annotations", category_id=4), "annotation 0: the category id 4 is unknown"),
    ("coco", edit_first(INSTANCES, "annotations", segmentation=[]), "annotation 0: has no 'segmentation'"),
    (
        "coco",
        edit_first(INSTANCES, "annotations", segmentation={"size": [6, 8], "counts": [1]}),
        "annotation 0: the run lengths do not add up to 6×8 pixels",
    ),
    (
        "coco",
        edit_first(INSTANCES, "annotations", segmentation={"size": [8, 6], "counts": "x"}),
        "annotation 0 is for 8×6 pixels",
    ),
    (
        "coco",
        edit_first(INSTANCES, "annotations", segmentation={"size": [6, 8], "counts": "o"}),
        "annotation 0: the compressed run lengths are cut short",
    ),
    ("coco", edit_first(INSTANCES, "annotations", segmentation=[[float("nan")] * 6]), "a coordinate is not finite"),
    (
        "coco",
        lambda root: write_json(
            root / "annotations" / "instances_more.json", {"images": [], "annotations": [], "categories": []}
        ),
        "cannot tell the splits of instances_default.json, instances_more.json apart",
    ),
    ("coco", write(INSTANCES, "{"), "instances_default.json is not valid JSON"),
    ("yolo", remove("data.yaml"), "data.yaml does not exist"),
    ("yolo", write("data.yaml", "names: 3"), "data.yaml: 'names' must be a list"),
    ("yolo", write("data.yaml", "{"), "data.yaml is not valid YAML"),
    ("yolo", write("data.yaml", "names: [cat]"), "a.txt, line 2: the class '1' is unknown: there are 0 .. 0"),
    ("yolo", write("labels/a.txt", "0 .5 .5 .2 .2"), "a.txt, line 1: is a box, not a polygon"),
    ("yolo", write("labels/a.txt", "0 5 5 20 5 20 20"), "a.txt, line 1: coordinates are shares"),
    ("yolo", write("labels/a.txt", "0 .1 .1 .2 .2 .3"), "a.txt, line 1: the points must be pairs"),
    ("yolo", write("labels/c.txt", ""), "c.txt has no image in"),
    ("instance-maps", remove("images/a.png"), "masks/a.tif has no partner a.* in"),
    ("instance-maps", remove("masks/a.tif"), "images/a.png has no partner a.* in"),
    ("instance-maps", save("masks/a.tif", SMALL), "masks/a.tif is for 5×8 pixels"),
    ("instance-maps", save("masks/a.tif", RGB), "masks/a.tif is a color picture"),
    ("instance-maps", save("masks/a.tif", np.full((6, 8), 0.5, np.float32)), "masks/a.tif holds fractions"),
    ("instance-maps", save("masks/a.tif", np.full((6, 8), -1, np.int32)), "masks/a.tif holds negative numbers"),
    ("instance-maps", save("masks/a.png", SMALL), "a.tif and a.png have the same name"),
    (
        "instance-maps",
        lambda root: Image.fromarray(SMALL).save(
            root / "masks/a.tif", save_all=True, append_images=[Image.fromarray(SMALL)]
        ),
        "masks/a.tif has several frames",
    ),
    ("semantic", remove("classes.txt"), "classes.txt does not exist"),
    ("semantic", write("classes.txt", "background\ncat\n"), "semantic/a.png: the value 2 is no class"),
    ("semantic", move("images"), "images is missing"),
    ("semantic", remove("instances/a.png"), "semantic/a.png has no partner a.* in"),
    ("semantic", save("instances/a.png", SMALL), "semantic/a.png is for 6×8 pixels"),
    ("semantic", write("instances/a.png", "x"), "instances/a.png cannot be read as PNG"),
]


@pytest.mark.parametrize(("name", "change", "message"), CASES)
def test_bad_source(
    name: str, change: Change, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = WRITERS[name](tmp_path / "source")
    change(root)
    assert main(["dataset", "convert", str(root), "--format", name, "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stuff", "cow"], "--stuff: no class is called 'cow': there are cat, dog"),
        (["--stuff", "cat", "--things", "cat"], "the class 'cat' cannot be both"),
        (["--group", "(a)"], "--group needs --split"),
        (["--split", "2"], "--split must lie between 0 and 1"),
        (["--format", "coco"], "has no COCO instances"),
        (["--format", "yolo", "--classes", "cat"], "has no images/ beside labels/"),
        (["--format", "semantic"], "classes.txt does not exist"),
        (["--format", "instance-maps"], "has no instance maps"),
        (["--format", "instance-maps", "--classes", "a", "b"], "hold one class, not 2"),
        (["--format", "pascal"], "pascal"),
        (["--classes", "absent.txt"], "absent.txt cannot be read"),
        (["--unlabeled", "white"], "white"),
        (["--sed", "2"], "--sed"),
    ],
)
def test_bad_options(options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = WRITERS["labelme"](tmp_path / "source")
    assert main(["dataset", "convert", str(root), "--output", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unclear_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def convert(root: Path) -> str:
        assert main(["dataset", "convert", str(root), "--output", str(tmp_path / "out")]) == 2
        return capsys.readouterr().err

    assert "absent is not a folder" in convert(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    assert "empty is in no known format" in convert(tmp_path / "empty")
    both = WRITERS["yolo"](WRITERS["labelme"](tmp_path / "both"))
    assert "looks like labelme and yolo: say which with --format" in convert(both)
    write_json(tmp_path / "done" / "annotations" / "panoptic_val.json", {})
    assert "is in COCO-panoptic format already" in convert(tmp_path / "done")


def test_output_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = WRITERS["labelme"](tmp_path / "source")
    (tmp_path / "file").write_text("precious")
    assert main(["dataset", "convert", str(root), "--output", str(tmp_path / "file")]) == 2
    assert (tmp_path / "file").read_text() == "precious"
    assert main(["dataset", "convert", str(root), "--output", str(root)]) == 2
    assert "is not empty" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["dataset", "convert", str(root), "--output", str(tmp_path / "empty")]) == 0


def test_dataset_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "convrt"]) == 2
    assert "did you mean 'convert'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["dataset", "convert", "--help"])
    assert caught.value.code == 0
    assert "axial-deeplab dataset convert" in capsys.readouterr().out
