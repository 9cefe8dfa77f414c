"""The demo, shrunk: what it leaves, and how it judges itself. The real one is `make demo`."""

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from axial_deeplab.data.scenes import SCENE_CATEGORIES
from axial_deeplab.predict import load
from axial_deeplab.training.recipes import scenes_small
from demo import run_demo


@pytest.fixture
def small_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    recipe = scenes_small()
    data = dataclasses.replace(recipe.data, scene_size=64, val_scenes=2)
    augment = dataclasses.replace(recipe.augment, crop_size=(65, 65))
    small = dataclasses.replace(recipe, data=data, augment=augment, iterations=2, batch_size=2, val_every=1)
    monkeypatch.setattr(run_demo, "scenes_small", lambda: small)
    monkeypatch.setattr(run_demo, "HELD_OUT", 3)
    monkeypatch.setattr(run_demo, "SHOWN", 2)
    monkeypatch.setattr("sys.argv", ["demo", "--output", str(tmp_path / "demo")])
    return tmp_path / "demo"


def test_demo_leaves_what_it_promises_and_fails_when_it_learned_too_little(
    small_demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo.main() == 1
    captured = capsys.readouterr()
    assert "Things" in captured.out
    assert "too low" in captured.err
    for name in ("predictions.json", "report.json", "result.json", "recipe.json"):
        assert (small_demo / name).is_file()
    assert len(list((small_demo / "overlays").iterdir())) == 2
    assert len(list((small_demo / "predictions").iterdir())) == 3
    with Image.open(small_demo / "contact_sheet.png") as sheet:
        assert sheet.width > 5 * 200
    assert load(small_demo / "checkpoint").categories == SCENE_CATEGORIES


def test_demo_succeeds_at_its_goal_and_runs_again(small_demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_demo, "MIN_PQ", 0.0)
    monkeypatch.setattr(run_demo, "MIN_PQ_THINGS", 0.0)
    assert run_demo.main() == 0
    assert run_demo.main() == 0
