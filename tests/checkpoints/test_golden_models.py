"""Whole models against the outputs of the public implementations, through the two public loaders."""

from pathlib import Path

import numpy as np
import pytest
import torch

from axial_deeplab.checkpoints.deeplab2 import from_deeplab2
from axial_deeplab.checkpoints.official_pytorch import from_official_pytorch
from axial_deeplab.models import count_parameters
from tests.golden_rule import draw_tensor, load_case


def assert_close(ours: torch.Tensor, arrays: dict, meta: dict, name: str) -> None:
    """Assert the pass mark of the fixtures: 20 times the reference's own noise, or 1e-5 of the largest value."""
    entry = next(entry for entry in meta["arrays"] if entry["array"] == name)
    tolerance = max(20 * entry.get("noise_fp32_vs_fp64", 0.0), 1e-5 * entry["max_abs"])
    error = np.abs(ours.detach().numpy().astype(np.float64) - arrays[name]).max()
    assert error <= tolerance, f"{name}: error {error:.2e} above {tolerance:.2e}"


@pytest.mark.parametrize("name", ["axial26s_seed0", "axial50s_seed0"])
def test_authors_classifier(golden: Path, name: str) -> None:
    meta, arrays = load_case(golden, f"csr_full_{name}")
    state = {entry["name"]: draw_tensor(entry, meta["seed"]) for entry in meta["variables"]}
    model = from_official_pytorch(state)
    assert count_parameters(model) == meta["params_total"]
    images = draw_tensor(meta["input"], meta["seed"])
    with torch.no_grad():
        assert_close(model(images), arrays, meta, "eval/logits")


@pytest.mark.parametrize(
    "name",
    [
        "axial_deeplab_s_cityscapes_129x129_seed0",
        "axial_deeplab_s_coco_65x65_seed0",
        "resnet50_coco_129x129_seed0",
        "resnet50_cityscapes_65x97_seed0",
        "max_deeplab_s_backbone_cityscapes_65x97_seed0",
    ],
)
def test_deeplab2_model(golden: Path, name: str) -> None:
    meta, arrays = load_case(golden, f"dl2_full_{name}")
    model = from_deeplab2({entry["name"]: draw_tensor(entry, meta["seed"]) for entry in meta["variables"]})
    assert count_parameters(model) == meta["params_total"]
    images = draw_tensor(meta["input"], meta["seed"]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        heads = model.compute_heads(images)
        output = model(images)
    step = 4 if "coco" in name else 1
    assert_close(heads.semantic_logits[:, ::step].permute(0, 2, 3, 1), arrays, meta, "decoder/semantic_logits")
    assert_close(heads.center_heatmap.permute(0, 2, 3, 1), arrays, meta, "decoder/center_heatmap")
    assert_close(heads.offset.permute(0, 2, 3, 1), arrays, meta, "decoder/offset_map")
    assert_close(output.center_heatmap[:, 0], arrays, meta, "output/center_heatmap")
    assert_close(output.offset.permute(0, 2, 3, 1), arrays, meta, "output/offset_map")
