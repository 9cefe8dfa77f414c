"""docs/reproduce.md: its commands run as printed, its recipes exist, its JSON is what the reader takes."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.checkpoints.published import PUBLISHED_FILES
from axial_deeplab.cli import main
from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.records import PanopticPrediction, Segment
from axial_deeplab.training.measured import read_measured
from axial_deeplab.training.recipes import RECIPES

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "reproduce.md").read_text(encoding="utf-8")


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_every_recipe_it_names_exists() -> None:
    named = re.findall(
        r"(?:axial-deeplab train |^\| )((?:cityscapes|coco|imagenet|mapillary|nuclei|scenes)_\w+)", TEXT, re.MULTILINE
    )
    assert len(named) > 10
    assert set(named) <= set(RECIPES)


def test_its_rows_can_be_read(tmp_path: Path) -> None:
    (block,) = find_blocks("json")
    (tmp_path / "mine.json").write_text(block)
    assert read_measured(tmp_path / "mine.json")[0].recipe in RECIPES


def write_street(root: Path) -> None:
    """Write one image of road and two cars in the classes of Cityscapes."""
    panoptic_map = torch.ones(33, 65, dtype=torch.int32)
    panoptic_map[10:20, 5:20], panoptic_map[10:20, 40:60] = 2, 3
    segments = [Segment(1, 0, False, 1.0, 1795), Segment(2, 13, True, 1.0, 150), Segment(3, 13, True, 1.0, 200)]
    with PanopticWriter(root / "annotations" / "panoptic_val.json", load_catalog("cityscapes")) as writer:
        writer.add(1, "street.png", PanopticPrediction(panoptic_map, segments))
    (root / "images" / "val").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(256, size=(33, 65, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "images" / "val" / "street.png")


def test_a_published_network_is_imported_and_scored(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two commands as printed, on a small checkpoint of TensorFlow's in place of the download."""
    monkeypatch.chdir(tmp_path)
    write_street(tmp_path / "CITYSCAPES")
    import_line, evaluate_line = re.findall(
        r"^axial-deeplab (import .*|evaluate .* runs/imported/val)$", TEXT, re.MULTILINE
    )
    command, name, *rest = import_line.split()
    assert name in PUBLISHED_FILES
    assert main([command, "deeplab2", str(golden / "dl2_ckpt_tiny"), *rest]) == 0
    assert main(evaluate_line.split()) == 0
    assert re.search(r"^All +\|", capsys.readouterr().out, re.MULTILINE)
