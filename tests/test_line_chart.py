"""The chart shows every curve where its values are."""

import numpy as np
import pytest
from PIL import Image

from axial_deeplab.colors import PALETTE
from axial_deeplab.line_chart import choose_step, draw_line_chart


def find_rows(chart: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    """Return the mean row that holds a color, below the legend, by column: NaN where a column has none."""
    found = (np.asarray(chart)[80:] == color).all(2)
    count = found.sum(0)
    return np.where(count > 0, (found * np.arange(len(found))[:, None]).sum(0) / np.maximum(count, 1), np.nan)


def test_curves_lie_where_their_values_are() -> None:
    chart = draw_line_chart([0.25, 1, 4], {"low": [0, 20, 40], "high": [80, 75, 60]}, title="t", label="x")
    low, high = (find_rows(chart, color) for color in PALETTE[:2])
    columns = np.flatnonzero(~np.isnan(low) & ~np.isnan(high))
    first, middle, last = columns[5], columns[len(columns) // 2], columns[-6]
    assert low[first] > low[middle] > low[last] > high[last] > high[middle] > high[first]  # rows count from the top
    assert abs((low[first] + low[last]) / 2 - low[middle]) < 4  # the places are equally far apart on a logarithmic axis


def test_one_place_and_no_height_are_drawn_too() -> None:
    chart = draw_line_chart([1], {"zero": [0.0]}, title="t", label="x")
    assert not np.isnan(find_rows(chart, PALETTE[0])).all()


@pytest.mark.parametrize(("highest", "step"), [(100, 20), (61, 20), (59, 10), (7, 2), (0.5, 0.1), (1.0, 0.2)])
def test_steps_are_round(highest: float, step: float) -> None:
    assert choose_step(highest) == pytest.approx(step)
