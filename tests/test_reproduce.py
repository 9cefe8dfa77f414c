"""docs/reproduce.md: its Python runs as printed, its recipes exist, its JSON is what the reader takes."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.records import PanopticPrediction, Segment
from axial_deeplab.training.measured import read_measured
from axial_deeplab.training.recipes import RECIPES
from tests.golden_rule import draw_tensor, load_case

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "reproduce.md").read_text(encoding="utf-8")


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_every_recipe_it_names_exists() -> None:
    named = re.findall(
        r"(?:axial-deeplab train |^\| )((?:cityscapes|coco|mapillary|nuclei|scenes)_\w+)", TEXT, re.MULTILINE
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


def test_a_published_network_is_scored(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With deeplab2's variables at random, in place of the trained ones."""
    monkeypatch.chdir(tmp_path)
    meta, _ = load_case(golden, "dl2_full_max_deeplab_s_backbone_cityscapes_65x97_seed0")
    np.savez(
        "variables.npz", **{entry["name"]: draw_tensor(entry, meta["seed"]).numpy() for entry in meta["variables"]}
    )
    write_street(tmp_path / "CITYSCAPES")
    (code,) = find_blocks("python")
    exec(compile(code, "docs/reproduce.md", "exec"), {"__name__": "reproduce"})
    assert "All" in capsys.readouterr().out
    assert (tmp_path / "runs" / "imported" / "report.json").exists()
