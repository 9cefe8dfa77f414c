"""The parts of a conversion: filling, run lengths, division into splits, colors."""

import numpy as np
import pytest

from axial_deeplab.data.convert.classes import choose_missing_colors
from axial_deeplab.data.convert.rasterize import (
    fill_circle,
    fill_polygon,
    place_mask,
)
from axial_deeplab.data.convert.record import Patch
from axial_deeplab.data.convert.split import divide
from axial_deeplab.data.run_lengths import decode_runs, parse_compressed_runs
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category


def paste(patch: Patch, size: tuple[int, int]) -> np.ndarray:
    canvas = np.zeros(size, bool)
    height, width = patch.mask.shape
    canvas[patch.top : patch.top + height, patch.left : patch.left + width] = patch.mask
    assert canvas.sum() == patch.mask.sum()
    return canvas


def fill_by_loops(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Count, for every pixel center, the edges that a ray to the left crosses."""
    mask = np.zeros(size, bool)
    for row, column in np.ndindex(*size):
        x, y = column + 0.5, row + 0.5
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if min(y0, y1) <= y < max(y0, y1) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                mask[row, column] ^= True
    return mask


@pytest.mark.parametrize("seed", range(20))
def test_polygon_equals_loops(seed: int) -> None:
    generator = np.random.default_rng(seed)
    size = (13, 17)
    points = generator.uniform(-6, 24, (generator.integers(3, 9), 2))
    if seed % 2:
        points = np.round(2 * points) / 2  # corners on centers and on borders of pixels
    np.testing.assert_array_equal(paste(fill_polygon(points, size), size), fill_by_loops(points, size))


def test_polygon_outside_is_empty() -> None:
    for shift in ((100, 0), (0, 100), (-100, 0), (0, -100)):
        points = np.array([(0, 0), (5, 0), (5, 5)], float) + shift
        assert not fill_polygon(points, (6, 8)).mask.any()


def test_circle_and_mask_are_cut_at_the_border() -> None:
    circle = paste(fill_circle((0.5, 0.5), 1.5, (4, 4)), (4, 4))
    assert np.argwhere(circle).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert not fill_circle((50, 50), 3, (4, 4)).mask.size
    assert paste(place_mask(np.ones((3, 3), bool), -1, 2, (4, 4)), (4, 4)).sum() == 4
    assert not place_mask(np.ones((3, 3), bool), 9, -9, (4, 4)).mask.size


def test_compressed_runs_equal_the_plain_ones() -> None:
    """The text was written by pycocotools 2.0 for this mask."""
    mask = np.zeros((50, 9), bool)
    mask[3:40, 1:3] = mask[10:12, 3:] = True
    mask[45, 0] = True
    counts = parse_compressed_runs("]117T1607mNl0000000000F")
    np.testing.assert_array_equal(decode_runs(counts, (50, 9)), mask)
    assert counts[:4] == [45, 1, 7, 37]
    assert parse_compressed_runs("") == []
    for text in ("]1~", "]11W"):
        with pytest.raises(ValueError, match="compressed run lengths"):
            parse_compressed_runs(text)
    with pytest.raises(ValueError, match="do not add up"):
        decode_runs([1, 2], (2, 2))


def test_division_keeps_groups_and_share() -> None:
    names = [f"patient{n // 4}_slice{n % 4}.png" for n in range(40)]
    splits = divide(names, 0.8, seed=0, pattern=r"(patient\d+)_")
    assert splits.count("train") == 32
    for start in range(0, 40, 4):
        assert len(set(splits[start : start + 4])) == 1
    backward = divide(names[::-1], 0.8, seed=0, pattern=r"(patient\d+)_")
    assert backward[::-1] == splits
    assert divide(names, 0.8, seed=1, pattern=r"(patient\d+)_") != splits
    assert divide(names, 0.75, seed=3).count("train") == 30


def test_division_leaves_no_split_empty() -> None:
    for share in (0.01, 0.99):
        assert sorted(divide(["a", "b"], share, seed=0)) == ["train", "val"]
    uneven = ["a1", *(f"b{n}" for n in range(9))]
    assert set(divide(uneven, 0.05, seed=0, pattern="(.)")) == {"train", "val"}
    assert divide(["a1", "a2", "b1", "b2"], 0.1, seed=0, pattern="(.)").count("train") == 2


@pytest.mark.parametrize(
    ("share", "pattern", "message"),
    [
        (0.0, None, "--split must lie between 0 and 1"),
        (1.0, None, "--split must lie between 0 and 1"),
        (0.5, "a", "has no group"),
        (0.5, "(", "is no regular expression"),
        (0.5, "(a)", "b.png does not match --group"),
        (0.5, "(png)", "at least two groups of images, there is 1"),
    ],
)
def test_division_refuses(share: float, pattern: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        divide(["a.png", "b.png"], share, 0, pattern=pattern)


def test_colors_differ_and_given_ones_stay() -> None:
    categories = [Category(n, str(n), True, (1, 2, 3) if n == 7 else None) for n in range(80)]
    colors = [category.color for category in choose_missing_colors(categories)]
    assert colors[7] == (1, 2, 3)
    assert len(set(colors)) == 80
