"""The picture of a confusion matrix."""

import numpy as np
import pytest

from axial_deeplab.confusion_chart import draw_confusion


def test_right_and_wrong_have_colors_of_their_own() -> None:
    picture = np.asarray(draw_confusion([[9, 1], [10, 0]], ["cat", "dog"], title="two")).astype(int)
    red_over_blue = picture[..., 0] - picture[..., 2]
    assert red_over_blue.min() < -100  # blue: mostly right
    assert red_over_blue.max() > 100  # orange: always wrong


@pytest.mark.parametrize("classes", [1, 30, 31, 1000])
def test_pictures_stay_of_a_size_to_look_at(classes: int) -> None:
    counts = np.eye(classes, dtype=int).tolist()
    picture = draw_confusion(counts, [f"class {number}" for number in range(classes)], title="many")
    assert max(picture.size) < 2000


def test_a_class_without_images_is_white() -> None:
    picture = np.asarray(draw_confusion([[0, 0], [0, 5]], ["a", "b"], title=""))
    assert (picture[70, 70] == 255).all()
