"""The comparison of training runs works on a CPU, with a small network and the reference on both sides."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.equivalence import main as run
from benchmarks.equivalence import measure_distance, smooth
from benchmarks.training_runs import PERTURBATION, perturb


def test_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "equivalence.json"
    small = ["--recipe", "scenes_small", "--steps", "3", "--seeds", "1", "--crop", "33", "--batch", "2"]
    way = ["--workers", "0", "--eager", "--fp32-backend", "reference", "--bf16-backend", "reference"]
    assert run([*small, *way, "--output", str(output)]) == 0
    assert capsys.readouterr().out.count("yes") == 3
    results = json.loads(output.read_text())
    (row,) = results["steps"]
    assert row["reference"] == pytest.approx(row["fused"], rel=1e-4)  # equal but for sums that a GPU takes in any order
    assert len(row["fused"]) == 3
    assert all(0 < distance < 1e-2 for distance in results["curves"][0]["distances_among_reference"])
    assert results["bf16"][0]["reference"] == pytest.approx(results["bf16"][0]["fused"], rel=1e-2)


def test_curves_are_smoothed_before_they_are_compared() -> None:
    steps = torch.arange(100.0)
    assert smooth(steps)[0] == 9.5
    assert len(smooth(steps)) == 81
    assert measure_distance(steps, steps + 2) == 2
    assert measure_distance(steps, steps + torch.tensor([1.0, -1.0]).repeat(50)) == pytest.approx(0, abs=1e-5)


def test_perturbation_is_small_and_repeats() -> None:
    from axial_deeplab.training.data_module import EncodedBatch

    batches = [EncodedBatch(torch.rand(1, 3, 4, 4) + 1, None, ())] * 2  # type: ignore[arg-type]
    first, second = ([batch.images for batch in perturb(batches, 1)] for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert not torch.equal(first[0], first[1])
    difference = (first[0] - batches[0].images).abs() / batches[0].images
    assert 0 < difference.max() < 1.2 * PERTURBATION
