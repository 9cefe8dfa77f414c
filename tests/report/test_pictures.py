"""Outlines on pictures of a report: which objects get them, in which color, and where."""

import base64
import io

import numpy as np
import torch
from PIL import Image

from axial_deeplab.metrics.object_errors import find_object_errors
from axial_deeplab.metrics.overlaps import measure_overlaps
from axial_deeplab.records import Category, PanopticPrediction, Segment
from axial_deeplab.report.pictures import (
    MARKS,
    Pictured,
    choose_marks,
    choose_size,
    draw_outlines,
    draw_pictures,
    encode_picture,
)

CATEGORIES = (Category(1, "ground", False), Category(2, "cat", True))


def draw(boxes: dict[int, tuple[int, int, int, int]]) -> PanopticPrediction:
    """Draw cats as boxes (left, top, right, bottom) on ground."""
    ids = np.full((60, 80), 1, np.int32)
    for number, (left, top, right, bottom) in boxes.items():
        ids[top:bottom, left:right] = number
    segments = [Segment(number, int(number > 1), number > 1) for number in np.unique(ids).tolist()]
    return PanopticPrediction(torch.from_numpy(ids), segments)


TRUTH = draw({2: (0, 0, 10, 10), 3: (20, 0, 30, 10), 4: (30, 0, 36, 10), 5: (40, 20, 60, 40), 6: (5, 45, 15, 55)})
GUESS = draw({7: (20, 0, 36, 10), 8: (40, 20, 50, 40), 9: (50, 20, 60, 40), 10: (65, 5, 75, 15), 6: (5, 45, 15, 55)})
ERRORS = find_object_errors(
    measure_overlaps(TRUTH.panoptic_map.numpy(), GUESS.panoptic_map.numpy()), TRUTH.segments, GUESS.segments
)


def test_every_part_of_an_error_is_marked() -> None:
    kinds = {color: kind for kind, color in MARKS.items()}
    truth, prediction = ({number: kinds[color] for number, color in side.items()} for side in choose_marks(ERRORS))
    assert ERRORS.objects[3].kind == "found"  # and still a part of the merge
    assert truth == {2: "missed", 3: "merged", 4: "merged", 5: "split"}
    assert prediction == {7: "merged", 8: "split", 9: "split", 10: "invented"}


def test_outlines_run_inside_their_object_with_black_around() -> None:
    ids = np.zeros((40, 40), np.int32)
    ids[10:30, 10:30] = 7
    picture = Image.new("RGB", (40, 40), (90, 90, 90))
    draw_outlines(picture, ids, {7: (255, 0, 0), 8: (0, 255, 0)})
    pixels = np.asarray(picture)
    assert (pixels[10:30, [10, 11, 28, 29]] == (255, 0, 0)).all()
    assert (pixels[[10, 11, 28, 29], 10:30] == (255, 0, 0)).all()
    assert (pixels[9, 10:30] == 0).all()
    assert (pixels[20, [9, 30, 12, 27]] == 0).all()
    assert (pixels[14:26, 14:26] == 90).all()
    assert (pixels[0, 0] == 90).all()


def test_pictures_are_large_enough_and_show_what_is_marked() -> None:
    image = torch.full((3, 60, 80), 120, dtype=torch.uint8)
    photo, truth, guess = draw_pictures(Pictured(image, TRUTH, GUESS), ERRORS, CATEGORIES)
    assert photo.size == truth.size == guess.size == (480, 360)
    assert (np.asarray(photo) == 120).all()
    shown = [{tuple(color) for color in np.asarray(side).reshape(-1, 3).tolist()} for side in (truth, guess)]
    assert [MARKS["missed"] in colors for colors in shown] == [True, False]
    assert [MARKS["invented"] in colors for colors in shown] == [False, True]
    assert all(MARKS[kind] in colors for kind in ("merged", "split") for colors in shown)


def test_sizes_have_limits() -> None:
    assert choose_size(100, 300) == (200, 600)
    assert choose_size(480, 640) == (480, 640)
    assert choose_size(1024, 2048) == (512, 1024)
    assert choose_size(1, 5000) == (1, 1024)


def test_encoded_picture_is_a_jpeg() -> None:
    text = encode_picture(Image.new("RGB", (30, 20), (10, 200, 30)))
    kind, data = text.split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.size == (30, 20)
