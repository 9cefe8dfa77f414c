"""docs/tutorial-own-data.md: its commands, taken from the text, run one after the other on pictures made here."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from axial_deeplab.cli import main
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.image_folder import read_image

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "tutorial-own-data.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL) for line in block.splitlines()]
SIZE = 48
SMALL = (
    "--model.name axial_deeplab_nano --augment.crop_size [33,33] --iterations 2 --val_every 2 --batch_size 2 "
    "--reference_batch 2 --data.workers 0 --optimizer.warmup 1"
)
"""str: What makes a run of the tutorial as short as a test; nothing of it changes a file or a folder."""


def write_picture(path: Path, seed: int) -> list[list[list[int]]]:
    """Draw two bright squares on noise, and return their corners."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (SIZE, SIZE, 3)).astype(np.uint8)
    corners = []
    for left in (4, 28):
        top = int(random.integers(2, 28))
        pixels[top : top + 14, left : left + 14] = 200
        corners.append([[left, top], [left + 14, top], [left + 14, top + 14], [left, top + 14]])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return corners


def label(path: Path, corners: list[list[list[int]]]) -> None:
    """Write what labelme would."""
    shapes = [
        {"label": name, "points": points, "shape_type": "polygon", "group_id": None}
        for name, points in zip(("cell", "seed"), corners, strict=True)
    ]
    content = {"shapes": shapes, "imagePath": path.name, "imageHeight": SIZE, "imageWidth": SIZE, "imageData": None}
    path.with_suffix(".json").write_text(json.dumps(content))


def prepare() -> None:
    """Do step 1: pictures and labels where the tutorial wants them."""
    for folder, seeds in (("labels/train/first", range(4)), ("labels/val", range(4, 6))):
        for seed in seeds:
            path = Path(folder) / f"{seed}.png"
            label(path, write_picture(path, seed))
    for seed in range(6, 9):
        write_picture(Path("pictures") / f"{seed}.png", seed)
    Path("labels/labels.txt").write_text("cell\nseed\n")


def correct() -> None:
    """Do what the reader does in step 5: draw anew what the network should have seen."""
    written = sorted(Path("labels/train/second/labelme").glob("*.json"))
    assert [path.stem for path in written] == ["6", "7", "8"]
    for path in written:
        content = json.loads(path.read_text())
        assert content["imagePath"] == f"{path.stem}.png"
        assert {shape["label"] for shape in content["shapes"]} <= {"cell", "seed"}
        label(path.with_suffix(".png"), write_picture(Path("again") / f"{path.stem}.png", int(path.stem)))


def test_the_tutorial_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare()
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "axial-deeplab"
        small = shlex.split(SMALL) if arguments[0] == "train" else []
        assert main([*arguments, *small]) == 0, f"{command}\n{capsys.readouterr().err}"
        if "labels/train/second" in arguments:
            correct()
    names = [record.file_name for record in map(CocoPanopticDataset("data/second", "train").__getitem__, range(7))]
    assert names == [*(f"first/{n}.png" for n in range(4)), *(f"second/labelme/{n}.png" for n in range(6, 9))]
    first, second = (CocoPanopticDataset(f"data/{name}", "val") for name in ("first", "second"))
    assert [category.name for category in second.categories] == ["cell", "seed", "background"]
    assert [first[n].file_name for n in range(2)] == [second[n].file_name for n in range(2)] == ["4.png", "5.png"]
    for name in ("first", "second"):
        assert "The 2 images with the lowest PQ" in Path(f"runs/{name}/val/report.html").read_text()
    started = json.loads(Path("runs/second/recipe.json").read_text())["model"]["init"]
    assert started == "runs/first/checkpoint"
    coco = json.loads(Path("more/coco/annotations/instances_default.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["6.png", "7.png", "8.png"]
    assert read_image("more/coco/images/6.png").size == (SIZE, SIZE)


def test_advice_names_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    options = set(re.findall(r"`(--[a-z]+\.[a-z_]+)", TEXT))
    assert len(options) >= 5
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    known = capsys.readouterr().out
    assert [option for option in options if option not in known] == []


def test_every_step_of_the_circle_is_there() -> None:
    steps = [" ".join(shlex.split(command)[1:3]) for command in COMMANDS]
    circle = ["dataset convert", "dataset check", "train nuclei_axial_deeplab_s", "evaluate --checkpoint"]
    assert steps == [*circle, "predict pictures", *circle, "predict pictures"]
