"""Two processes do what one does with their batches together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.checkpoint_files import save_network

FIELDS = (
    "data.scene_size=64",
    "data.train_scenes=8",
    "data.val_scenes=3",
    "augment.crop_size=[65, 65]",
    "optimizer.name=sgd",
    "optimizer.lr=0.001",
    "optimizer.warmup=0",
    "iterations=2",
    "val_every=1",
    "ema_decay=0.5",
    "reference_batch=4",
)


def run_recipe(output: Path, *fields: str) -> dict:
    command = [
        sys.executable,
        "-m",
        "axial_deeplab.training",
        "scenes_small",
        *FIELDS,
        *fields,
        "--output",
        str(output),
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads((output / "result.json").read_text())


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    one = run_recipe(tmp_path / "one", "batch_size=4", "devices=1")
    two = run_recipe(tmp_path / "two", "batch_size=2", "devices=2")
    assert (one["steps"], one["images"]) == (two["steps"], two["images"]) == (2, 8)
    states = [torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True) for name in ("one", "two")]
    for key in ("state_dict", "current_model_state"):
        for name, value in states[0][key].items():
            torch.testing.assert_close(states[1][key][name], value, rtol=1e-3, atol=1e-4, msg=f"{key} {name}")
    # All scenes were counted once, however they were shared.
    counted = [sum(row["tp"] + row["fn"] for row in run["per_class"].values()) for run in (one, two)]
    assert counted[0] == counted[1] > 0


@pytest.mark.slow
def test_two_processes_keep_a_frozen_encoder(tmp_path: Path) -> None:
    initial = save_network(tmp_path / "first", "axial_deeplab_nano", "cell", "nucleus")
    run_recipe(tmp_path / "two", "batch_size=2", "devices=2", f"model.init={initial}", "model.freeze=encoder")
    before, after = (load_file(folder / "model.safetensors") for folder in (Path(initial), tmp_path / "two/checkpoint"))
    equal = {name: torch.equal(value, before[name]) for name, value in after.items() if "predict" not in name}
    assert all(same for name, same in equal.items() if name.startswith("encoder."))
    assert not equal["semantic_decoder.fuse4.pointwise.conv.weight"]
    assert json.loads((tmp_path / "two" / "init.json").read_text())["encoder_share"] == 1


@pytest.mark.slow
def test_two_processes_print_one_result(tmp_path: Path) -> None:
    options = [f"--{field}" for field in (*FIELDS, "batch_size=2", "devices=2", f"output={tmp_path / 'run'}")]
    command = [sys.executable, "-m", "axial_deeplab", "train", "scenes_small", *options]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["output"] == str(tmp_path / "run")
