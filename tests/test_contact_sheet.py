"""The contact sheet: one row an image, only columns with content, any size."""

import numpy as np
import pytest
import torch

from axial_deeplab.contact_sheet import SheetRow, _list_classes, draw_contact_sheet
from axial_deeplab.data.scenes import SCENE_CATEGORIES, make_scene
from axial_deeplab.errors import InputError
from axial_deeplab.records import PanopticPrediction, Segment


def make_row(seed: int = 0) -> SheetRow:
    record = make_scene(seed, 64)
    truth = PanopticPrediction(record.panoptic_map, list(record.segments))
    heatmap = torch.rand(64, 64, generator=torch.Generator().manual_seed(seed))
    return SheetRow(record.image, truth, truth, heatmap, torch.ones(2, 64, 64), f"scene {seed}")


def test_one_row_an_image_and_one_column_a_kind() -> None:
    one, two = (draw_contact_sheet([make_row(seed) for seed in range(n)], SCENE_CATEGORIES, cell=128) for n in (1, 2))
    assert one.mode == "RGB"
    assert one.width == two.width == 16 + 5 * (128 + 16)
    assert two.height - one.height == 128 + 16 + 24


def test_empty_columns_are_left_out() -> None:
    row = make_row()
    sheet = draw_contact_sheet([row._replace(prediction=None, offset=None)], SCENE_CATEGORIES, cell=300)
    assert sheet.width == 16 + 3 * (300 + 16)
    mixed = [row._replace(prediction=None), row._replace(truth=None)]
    assert draw_contact_sheet(mixed, SCENE_CATEGORIES, cell=300).width == 16 + 5 * (300 + 16)


def test_pictures_lie_where_they_belong() -> None:
    image = np.zeros((4, 8, 3), dtype=np.uint8)
    image[:, :4] = (250, 10, 20)
    sheet = np.asarray(draw_contact_sheet([SheetRow(image, center_heatmap=np.ones((4, 8)))], (), cell=320))
    cell = sheet[80:240, 16:336]
    assert cell[80, 40].tolist() == [250, 10, 20]
    assert cell[80, 280].tolist() == [0, 0, 0]
    assert sheet[150, 16 + 336 + 100].tolist() == [252, 248, 190]


def test_the_legend_lists_what_occurs() -> None:
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    whole = PanopticPrediction(torch.full((2, 2), 4, dtype=torch.int32), [Segment(4, 5, True)])
    partly = PanopticPrediction(torch.tensor([[0, 4], [4, 4]], dtype=torch.int32), [Segment(4, 1, False)])
    names = [name for name, _ in _list_classes([SheetRow(image, whole)], SCENE_CATEGORIES)]
    assert names == ["star"]
    names = [name for name, _ in _list_classes([SheetRow(image, whole, partly)], SCENE_CATEGORIES)]
    assert names == ["field", "star", "void (gray photograph)"]


def test_the_same_rows_give_the_same_sheet() -> None:
    sheets = [np.asarray(draw_contact_sheet([make_row()], SCENE_CATEGORIES)) for _ in range(2)]
    assert np.array_equal(*sheets)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (16, 16), (700, 500)])
def test_any_size_works(size: tuple[int, int]) -> None:
    segments = PanopticPrediction(torch.full(size, 4, dtype=torch.int32), [Segment(4, 4, True)])
    row = SheetRow(torch.zeros(3, *size, dtype=torch.uint8), segments, None, torch.zeros(size), torch.zeros(2, *size))
    assert draw_contact_sheet([row], SCENE_CATEGORIES).width > 640


def test_a_row_without_things_has_no_offsets_to_measure() -> None:
    empty = PanopticPrediction(torch.zeros(8, 8, dtype=torch.int32))
    row = SheetRow(torch.zeros(3, 8, 8, dtype=torch.uint8), empty, offset=torch.full((2, 8, 8), 1e6))
    assert draw_contact_sheet([row], SCENE_CATEGORIES, cell=320).width == 16 + 3 * 336


def test_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match="at least one row"):
        draw_contact_sheet([], SCENE_CATEGORIES)
