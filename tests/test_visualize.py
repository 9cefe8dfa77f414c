"""Pictures: right colors at right places, readable labels, any size, the same picture every time."""

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.scenes import SCENE_CATEGORIES, make_scene
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticPrediction, Segment
from axial_deeplab.visualize import (
    MAX_LABELS,
    _Box,
    _choose_labeled,
    _find_place,
    color_segments,
    draw_overlay,
    index_segments,
    measure_depth,
    to_pixels,
)

CATEGORIES = (Category(0, "grass", False, (0, 200, 0)), Category(7, "cow", True, (200, 0, 0)))


def make_halves(height: int, width: int) -> PanopticPrediction:
    """Make void on top, then grass on the left and a cow on the right."""
    panoptic_map = torch.zeros(height, width, dtype=torch.int32)
    panoptic_map[height // 2 :, : width // 2] = 1000
    panoptic_map[height // 2 :, width // 2 :] = 3
    return PanopticPrediction(panoptic_map, [Segment(3, 1, True, 0.97), Segment(1000, 0, False, 0.5)])


def get_scene(size: int = 128) -> tuple[torch.Tensor, PanopticPrediction]:
    record = make_scene(2, size)
    return record.image, PanopticPrediction(record.panoptic_map, list(record.segments))


def test_colors_are_mixed_and_void_is_dark_gray() -> None:
    image = np.full((16, 16, 3), (100, 150, 250), dtype=np.uint8)  # too small for labels
    pixels = np.asarray(draw_overlay(image, make_halves(16, 16), CATEGORIES, opacity=0.25))
    assert pixels[12, 2].tolist() == [75, 162, 188]  # 0.75 * image + 0.25 * (0, 200, 0), halves to even
    assert pixels[12, 12].tolist() == [125, 112, 188]
    luma = 0.299 * 100 + 0.587 * 150 + 0.114 * 250
    assert pixels[2, 2].tolist() == [round(0.45 * luma)] * 3


def test_borders_stand_out_on_dark_and_on_light_pictures() -> None:
    for value, sign in ((0, 1), (255, -1)):
        image = np.full((16, 16, 3), value, dtype=np.uint8)
        pixels = np.asarray(draw_overlay(image, make_halves(16, 16), CATEGORIES, opacity=0.1)).astype(int)
        assert (sign * (pixels[12, 7] - pixels[12, 5]) > 90).all()
        assert (pixels[12, 8] == pixels[12, 10]).all(), "the border is one pixel wide"


def test_the_form_of_the_image_makes_no_difference() -> None:
    image, prediction = get_scene()
    array = image.permute(1, 2, 0).numpy()
    overlay = draw_overlay(image, prediction, SCENE_CATEGORIES)
    assert overlay.mode == "RGB"
    for other in (array, Image.fromarray(array)):
        assert np.array_equal(np.asarray(draw_overlay(other, prediction, SCENE_CATEGORIES)), np.asarray(overlay))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16), (1, 400), (300, 2), (257, 513), (1030, 700)])
def test_any_size_works(size: tuple[int, int]) -> None:
    image = torch.full((3, *size), 90, dtype=torch.uint8)
    overlay = draw_overlay(image, make_halves(*size), CATEGORIES)
    assert overlay.size == size[::-1]


def test_labels_say_name_and_score() -> None:
    image = torch.full((3, 200, 300), 90, dtype=torch.uint8)
    sure = make_halves(200, 300)
    truth = PanopticPrediction(sure.panoptic_map, [segment._replace(score=1.0) for segment in sure.segments])
    nameless = tuple(category._replace(name="") for category in CATEGORIES)
    pictures = [
        np.asarray(draw_overlay(image, prediction, categories))
        for prediction, categories in ((sure, CATEGORIES), (truth, CATEGORIES), (truth, nameless))
    ]
    widths = [int((picture != pictures[2]).any(-1).any(0).sum()) for picture in pictures]
    assert widths[0] > widths[1] > 20, "a label with a score is longer than one without"
    assert (pictures[0][:95] == pictures[2][:95]).all(), "void has no label"


def test_labels_neither_meet_nor_leave_the_image() -> None:
    _, prediction = get_scene(256)
    index, segments = index_segments(prediction)
    depth = measure_depth(index)
    placed: list[_Box] = []
    for position in range(len(segments)):
        box = _find_place(index == position + 1, depth, 1, (40, 14), placed)
        assert box is not None
        assert 0 <= box.left <= 256 - 40
        assert 0 <= box.top <= 256 - 14
        placed.append(box)
    for i, box in enumerate(placed):
        assert box.meets(box)
        assert not any(box.meets(other) for other in placed[:i])


def test_labels_of_large_segments_lie_inside() -> None:
    index = np.zeros((100, 200), dtype=np.int64)
    index[20:90, 50:190] = 1
    box = _find_place(index == 1, measure_depth(index), 1, (40, 14), [])
    assert box is not None
    assert (index[box.top : box.top + box.height, box.left : box.left + box.width] == 1).all()


def test_labels_of_small_segments_lie_beside() -> None:
    index = np.zeros((100, 200), dtype=np.int64)
    index[50:56, 80:90] = 1
    box = _find_place(index == 1, measure_depth(index), 1, (40, 14), [])
    assert box is not None
    assert not (index[box.top : box.top + box.height, box.left : box.left + box.width] == 1).any()


def test_labels_are_few_enough_to_see_the_picture() -> None:
    index = np.arange(100).repeat(400).reshape(200, 200) + 1
    assert len(_choose_labeled(index, [(10, 10)] * 100, smallest=1)) == MAX_LABELS
    assert len(_choose_labeled(index, [(60, 20)] * 100, smallest=1)) == 5  # 15% of the image
    assert _choose_labeled(index, [(10, 10)] * 100, smallest=401) == []
    index[:] = 2
    index[0] = 1
    assert _choose_labeled(index, [(10, 10)] * 2, smallest=1) == [1, 0]


def test_depth_is_the_distance_to_the_edge() -> None:
    index = np.zeros((9, 9), dtype=np.int64)
    index[2:7, 2:7] = 1
    depth = measure_depth(index)
    assert depth[4].tolist() == [0, 0, 0, 1, 2, 1, 0, 0, 0]
    assert measure_depth(np.zeros((1, 5), dtype=np.int64)).tolist() == [[0] * 5]


def test_ids_without_a_segment_are_void() -> None:
    prediction = PanopticPrediction(
        torch.tensor([[0, 3, 4], [5, 9, 12]], dtype=torch.int32), [Segment(9, 1, True), Segment(4, 0, False)]
    )
    index, segments = index_segments(prediction)
    assert index.tolist() == [[0, 0, 1], [0, 2, 0]]
    assert [segment.id for segment in segments] == [4, 9]
    assert index_segments(PanopticPrediction(prediction.panoptic_map))[0].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_color_maps_show_the_colors_of_the_overlay() -> None:
    pixels = color_segments(make_halves(16, 16), CATEGORIES)
    assert pixels.dtype == np.uint8
    assert pixels[2, 2].tolist() == [96, 96, 96]
    assert pixels[12, 2].tolist() == [0, 200, 0]
    assert pixels[12, 12].tolist() == [200, 0, 0]


def test_wrong_images_are_refused() -> None:
    prediction = make_halves(16, 16)
    with pytest.raises(InputError, match="restore its size"):
        draw_overlay(np.zeros((16, 17, 3), dtype=np.uint8), prediction, CATEGORIES)
    for image in (torch.zeros(16, 16, 3, dtype=torch.uint8), torch.zeros(3, 16, 16), np.zeros((16, 16), np.uint8)):
        with pytest.raises(InputError, match="uint8 RGB"):
            to_pixels(image)
