"""5,000 objects in one image: all found, in bounded memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from axial_deeplab.panoptic.grouping import group_pixels

ROOT = Path(__file__).resolve().parents[2]


def test_5000_objects() -> None:
    """All pairs of votes and centers would be 60 GB; 1 GiB is the limit here."""
    program = [sys.executable, "-m", "tests.panoptic.many_objects"]
    done = subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    print(report)
    assert report["things"] == 5000
    assert report["different_at_centers"] == 5000
    assert report["wrong_pixels"] == 0
    assert report["areas"] == [625]
    assert report["classes"] == [0, 1667, 1667, 1666]
    assert report["peak_mib"] < 1024


@pytest.fixture
def squared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that collects the sizes of all tensors that are squared."""
    sizes: list[int] = []
    square = torch.Tensor.square

    def record_size(values: torch.Tensor) -> torch.Tensor:
        sizes.append(values.numel())
        return square(values)

    monkeypatch.setattr(torch.Tensor, "square", record_size)
    return sizes


@pytest.mark.parametrize("distances_at_once", [64, 4096])
def test_no_more_distances_than_allowed(squared: list[int], distances_at_once: int) -> None:
    """Hard votes too: at random places, and all on one point."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randint(0, 99, (30, 2), generator=generator).unique(dim=0)
    mask = torch.ones(99, 99, dtype=torch.bool)
    y, x = torch.meshgrid(torch.arange(99), torch.arange(99), indexing="ij")
    for offset in (torch.randn(2, 99, 99, generator=generator) * 40, torch.stack((40.5 - y, 40.5 - x))):
        group_pixels(offset, centers, mask, distances_at_once=distances_at_once)
    assert len(squared) > 4
    assert max(squared) <= max(distances_at_once, 2 * len(centers))


def test_far_centers_are_not_compared(squared: list[int]) -> None:
    """Of the 400 centers in a grid only those near a vote cost anything, wherever the votes come from."""
    centers = torch.cartesian_prod(torch.arange(5, 200, 10), torch.arange(5, 200, 10))
    mask = torch.ones(200, 200, dtype=torch.bool)
    votes = torch.rand(2, 200, 200, generator=torch.Generator().manual_seed(0)) * 200
    y, x = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    group_pixels(votes - torch.stack((y, x)), centers, mask, distances_at_once=2**12)
    assert sum(squared) < 2 * mask.sum() * 40  # two squares a distance, a tenth of all centers
