"""The README's Python runs as printed."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.checkpoints import CheckpointConfig, save_checkpoint
from axial_deeplab.data.scenes import SCENE_CATEGORIES
from axial_deeplab.data.transforms import Preprocess
from axial_deeplab.models import build_model
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.serialization import to_plain

README = Path(__file__).resolve().parents[1] / "README.md"


def find_python() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_readme_has_python() -> None:
    assert len(find_python()) == 2


@pytest.mark.parametrize("index", range(2))
def test_code_runs(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = CheckpointConfig(
        model="axial_deeplab_nano",
        categories=SCENE_CATEGORIES,
        preprocess=to_plain(Preprocess()),
        postprocess=to_plain(PostprocessConfig()),
    )
    save_checkpoint("runs/demo/checkpoint", build_model(config.model, len(SCENE_CATEGORIES)), config)
    Image.fromarray(np.full((48, 64, 3), 90, dtype=np.uint8)).save("photo.png")
    exec(compile(find_python()[index], str(README), "exec"), {"__name__": "readme"})
