"""Centers and votes against the float64 loops."""

import numpy as np
import pytest
import torch
from torch import Tensor

from axial_deeplab.panoptic.grouping import find_centers, group_pixels, suppress_non_maxima
from tests.oracles.postprocess import find_centers_slowly, group_slowly


def make_heatmap(seed: int, shape: tuple[int, int]) -> Tensor:
    """Return a heatmap of few distinct values, so that plateaus and equal neighbors occur."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 9, shape, generator=generator).float() / 8


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7, 30])
@pytest.mark.parametrize("shape", [(1, 1), (1, 23), (17, 13)])
def test_centers_equal_loops(kernel: int, shape: tuple[int, int]) -> None:
    heatmap = make_heatmap(kernel, shape)
    centers = find_centers(heatmap, threshold=0.3, kernel=kernel)
    assert [tuple(row) for row in centers.position.tolist()] == find_centers_slowly(heatmap.numpy(), 0.3, kernel)
    assert torch.equal(centers.score, heatmap[centers.position[:, 0], centers.position[:, 1]])
    assert torch.equal(suppress_non_maxima(heatmap, threshold=0.3, kernel=kernel).nonzero(), centers.position)


def test_plateau_gives_several_centers() -> None:
    heatmap = torch.zeros(5, 5)
    heatmap[2, 1:4] = 0.5
    assert find_centers(heatmap, kernel=3).position.tolist() == [[2, 1], [2, 2], [2, 3]]


def test_threshold_is_exclusive() -> None:
    heatmap = torch.tensor([[0.25, 0.0, 0.25001]])
    assert find_centers(heatmap, threshold=0.25, kernel=1).position.tolist() == [[0, 2]]
    assert len(find_centers(torch.zeros(3, 3), threshold=0.0).score) == 0


def test_max_centers_keeps_the_best_and_says_so() -> None:
    heatmap = torch.zeros(3, 30)
    heatmap[1, ::3] = torch.tensor([0.2, 0.9, 0.5, 0.5, 0.3, 0.5, 0.4, 0.8, 0.5, 0.2])
    with pytest.warns(UserWarning, match="10 centers found, max_centers keeps the best 4"):
        centers = find_centers(heatmap, kernel=3, max_centers=4)
    assert centers.position[:, 1].tolist() == [3, 6, 9, 21]
    assert centers.score.tolist() == pytest.approx([0.9, 0.5, 0.5, 0.8])


def test_max_centers_of_equal_scores_are_the_first() -> None:
    heatmap = torch.full((60, 60), 0.5)
    heatmap[30, 30] = 0.75
    with pytest.warns(UserWarning, match="3600 centers"):
        centers = find_centers(heatmap, kernel=1, max_centers=101)
    y, x = centers.position.T
    assert (y * 60 + x).tolist() == [*range(100), 30 * 60 + 30]


def test_max_centers_that_does_not_bind_is_silent() -> None:
    heatmap = make_heatmap(0, (20, 20))
    everything = find_centers(heatmap)
    limited = find_centers(heatmap, max_centers=len(everything.score))
    assert torch.equal(limited.position, everything.position)


def make_votes(seed: int, spread: float, num_centers: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return offsets, centers and a mask of a 31 x 37 image; the offsets are multiples of 1/2, so that ties occur."""
    generator = torch.Generator().manual_seed(seed)
    offset = torch.randn(2, 31, 37, generator=generator) * spread
    centers = torch.randint(0, 31 * 37, (num_centers,), generator=generator).unique()
    mask = torch.rand(31, 37, generator=generator) < 0.7
    return (offset * 2).round() / 2, torch.stack((centers // 37, centers % 37), dim=1), mask


@pytest.mark.parametrize("distances_at_once", [1, 50, 1000, 2**24])
@pytest.mark.parametrize(("spread", "num_centers"), [(0.0, 1), (3.0, 200), (30.0, 60), (1e4, 40)])
def test_groups_equal_loops(spread: float, num_centers: int, distances_at_once: int) -> None:
    offset, centers, mask = make_votes(int(spread), spread, num_centers)
    expected = group_slowly(offset.numpy(), [tuple(row) for row in centers.tolist()], mask.numpy())
    instance = group_pixels(offset, centers, mask, distances_at_once=distances_at_once)
    np.testing.assert_array_equal(instance.numpy(), expected)
    assert instance.dtype == torch.int32


def test_groups_of_votes_on_one_point() -> None:
    """Votes that cannot be split further still end: 900 pixels between 12 centers at one distance."""
    y, x = torch.meshgrid(torch.arange(30), torch.arange(30), indexing="ij")
    offset = torch.stack((15 - y, 15 - x)).float()
    ring = [(dy, dx) for dy in range(-5, 6) for dx in range(-5, 6) if dy * dy + dx * dx == 25]
    assert len(ring) == 12
    instance = group_pixels(offset, torch.tensor(ring) + 15, torch.ones(30, 30, dtype=torch.bool), distances_at_once=20)
    assert (instance == 1).all()


@pytest.mark.parametrize("scale", [1e8, 1e20, 3e38])
def test_enormous_offsets_end(scale: float) -> None:
    offset = scale * torch.linspace(-1, 1, 2 * 40 * 40).view(2, 40, 40)
    centers = torch.cartesian_prod(torch.arange(0, 40, 4), torch.arange(0, 40, 4))
    instance = group_pixels(offset, centers, torch.ones(40, 40, dtype=torch.bool), distances_at_once=100)
    assert (instance > 0).all()


def test_no_center_and_no_pixel() -> None:
    offset, centers, mask = make_votes(0, 1.0, 5)
    assert not group_pixels(offset, centers[:0], mask).any()
    assert not group_pixels(offset, centers, torch.zeros_like(mask)).any()
