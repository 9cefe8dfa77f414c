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


@pytest.mark.parametrize("logarithmic", [True, False])
def test_curves_lie_where_their_values_are(logarithmic: bool) -> None:
    x = (0.25, 1, 4) if logarithmic else (0, 2, 4)
    curves = {"low": [*zip(x, (0, 20, 40), strict=True)], "high": [*zip(x, (80, 75, 60), strict=True)]}
    chart = draw_line_chart(curves, title="t", label="x", logarithmic=logarithmic)
    low, high = (find_rows(chart, color) for color in PALETTE[:2])
    columns = np.flatnonzero(~np.isnan(low) & ~np.isnan(high))
    first, middle, last = columns[5], columns[len(columns) // 2], columns[-6]
    assert low[first] > low[middle] > low[last] > high[last] > high[middle] > high[first]  # rows count from the top
    assert abs((low[first] + low[last]) / 2 - low[middle]) < 4  # the places are equally far apart


def test_one_place_and_no_height_are_drawn_too() -> None:
    for logarithmic in (True, False):
        chart = draw_line_chart({"zero": [(1.0, 0.0)]}, title="t", label="x", logarithmic=logarithmic)
        assert not np.isnan(find_rows(chart, PALETTE[0])).all()


@pytest.mark.parametrize(("highest", "step"), [(100, 20), (61, 20), (59, 10), (7, 2), (0.5, 0.1), (1.0, 0.2)])
def test_steps_are_round(highest: float, step: float) -> None:
    assert choose_step(highest) == pytest.approx(step)


def test_curves_may_have_points_at_different_places() -> None:
    chart = draw_line_chart({"short": [(0, 30), (50, 10)], "long": [(100, 20)]}, title="t", label="step")
    short, long = (np.flatnonzero(~np.isnan(find_rows(chart, color))) for color in PALETTE[:2])
    assert short[-1] < long[0]
