"""Colors: shades of one category differ, heat rises in lightness, hue is direction."""

from itertools import pairwise

import numpy as np
import torch

from axial_deeplab.colors import PALETTE, choose_color, choose_colors, color_heatmap, color_offsets
from axial_deeplab.records import Category, Segment

CATEGORIES = (Category(0, "sky", False, (10, 20, 30)), Category(1, "cat", True, (200, 100, 50)), Category(2, "x", True))


def test_things_get_shades_of_their_category() -> None:
    colors = choose_colors([Segment(i, 1, True) for i in range(1, 30)], CATEGORIES)
    assert colors[0] == (200, 100, 50)
    assert len(set(colors)) == 29
    assert all(0 <= value <= 255 for color in colors for value in color)
    neighbors = [np.abs(np.subtract(one, other)).sum() for one, other in pairwise(colors)]
    assert min(neighbors) > 25


def test_stuff_keeps_the_color_of_its_category() -> None:
    assert choose_colors([Segment(1, 0, False), Segment(2, 0, False)], CATEGORIES) == [(10, 20, 30)] * 2


def test_categories_without_color_use_the_palette() -> None:
    assert choose_color(2, CATEGORIES) == PALETTE[2]
    many = [Category(i, str(i), True) for i in range(200)]
    assert choose_color(133, many) == PALETTE[133 % len(PALETTE)]
    assert len(set(PALETTE)) == len(PALETTE)


def test_heat_rises_in_lightness_and_is_clipped() -> None:
    pixels = color_heatmap(torch.linspace(-0.5, 1.5, 81)[None])
    assert pixels.shape == (1, 81, 3)
    assert pixels.dtype == np.uint8
    luma = pixels[0] @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(luma[20:61]) > 0).all()
    assert (pixels[0, :21] == pixels[0, 0]).all()
    assert (pixels[0, 60:] == pixels[0, -1]).all()


def test_offsets_show_direction_as_hue_and_length_as_saturation() -> None:
    offset = torch.tensor([[[0.0, 0.0, 0.0, 5.0, 0.0, 0.0]], [[0.0, 10.0, 99.0, 0.0, -10.0, 5.0]]])  # (y, x)
    pixels = color_offsets(offset, limit=10)[0]
    assert pixels[0].tolist() == [255, 255, 255]
    assert pixels[1].tolist() == pixels[2].tolist() == [255, 0, 0]  # to the right, full length and longer
    assert pixels[4].tolist() == [0, 255, 255]  # to the left: the opposite hue
    assert pixels[5].tolist() == [255, 128, 128]  # half the length
    assert pixels[3].tolist() == [191, 255, 128]  # down, half the length: a quarter turn from red


def test_offsets_outside_the_mask_are_gray() -> None:
    pixels = color_offsets(np.ones((2, 1, 2)), torch.tensor([[True, False]]), limit=1)
    assert pixels[0, 1].tolist() == [40, 40, 40]
    assert pixels[0, 0].tolist() != [40, 40, 40]
