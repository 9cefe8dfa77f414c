"""Checkpoints on disk as the public implementations write them: a file into the command line, the reference's outputs out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from axial_deeplab.checkpoints.load import load_checkpoint
from axial_deeplab.checkpoints.tensor_bundle import read_bundle
from axial_deeplab.cli import main
from axial_deeplab.models import count_parameters
from tests.checkpoints.test_golden_models import check_features
from tests.golden_assert import assert_close, get_entry
from tests.golden_rule import assert_check, draw, draw_tensor, load_case


def test_every_entry_of_a_tensorflow_checkpoint(golden: Path) -> None:
    meta = json.loads((golden / "dl2_ckpt_tiny" / "expected.json").read_text())
    rules = {entry["name"]: entry for entry in meta["variables"]}
    read = read_bundle(golden / "dl2_ckpt_tiny" / "ckpt-3")
    entries = [entry for entry in meta["checkpoint_entries"] if entry["dtype"] != "string"]
    assert sorted(read) == sorted(entry["checkpoint_key"] for entry in entries)
    for entry in entries:
        value = read[entry["checkpoint_key"]]
        assert value.shape == tuple(entry["shape"])
        assert value.dtype == entry["dtype"]
        if entry["rule_key"] is not None:
            np.testing.assert_array_equal(value, draw(rules[entry["rule_key"]], meta["seed"]))
        elif "check" in entry:
            assert_check({"key": entry["checkpoint_key"], **entry}, value)
        else:
            assert value == pytest.approx(entry["value"])


def test_deeplab2_checkpoint(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = golden / "dl2_ckpt_tiny"
    assert main(["import", "deeplab2", str(folder / "ckpt-3"), "--output", str(tmp_path)]) == 0
    assert "597 variables used" in capsys.readouterr().out
    meta = json.loads((folder / "expected.json").read_text())
    model, config = load_checkpoint(tmp_path)
    assert count_parameters(model) == meta["params_total"]
    assert config.preprocess["mean"] == config.preprocess["std"] == [0.5, 0.5, 0.5]
    images = draw_tensor(meta["input"], meta["seed"]).permute(0, 3, 1, 2) / 127.5 - 1
    with np.load(folder / "expected.npz") as file, torch.no_grad():
        arrays = dict(file)
        check_features(model.encoder, images, meta, arrays)
        heads = model.compute_heads(images)
        for name, head in zip(("semantic_logits", "center_heatmap", "offset_map"), heads, strict=True):
            expected = f"decoder/{name}"
            assert_close(head.permute(0, 2, 3, 1), arrays[expected], get_entry(meta, expected))


def test_authors_checkpoint(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "official-pytorch", str(golden / "csr_ckpt_tiny.pth"), "--output", str(tmp_path)]) == 0
    assert "179 variables used" in capsys.readouterr().out
    meta, arrays = load_case(golden, "csr_ckpt_tiny")
    model, config = load_checkpoint(tmp_path)
    assert count_parameters(model) == meta["params_total"]
    assert (config.task, len(config.categories)) == ("classification", meta["num_classes"])
    with torch.no_grad():
        x = draw_tensor(meta["input"], meta["seed"])
        assert_close(model(x), arrays["eval/logits"], get_entry(meta, "eval/logits"))
        x = model.encoder.stem(x)
        for number, stage in enumerate(model.encoder.stages, start=1):
            x, name = stage(x), f"eval/layer{number}/spatial_mean"
            assert_close(x.mean((2, 3)), arrays[name], get_entry(meta, name))
