"""The border into the network and back: aligned corners, exact inverses, ugly sizes."""

import json
from dataclasses import asdict
from fractions import Fraction
from math import floor

import pytest
import torch
import torch.nn.functional as F

from axial_deeplab.data.transforms import (
    Geometry,
    Preprocess,
    fit_longest_side,
    measure_segments,
    normalize_batch,
    prepare,
    resize_image,
    resize_map,
    restore_map,
    restore_output,
    restore_prediction,
    select_nearest,
)
from axial_deeplab.errors import InputError
from axial_deeplab.records import PanopticOutput, PanopticPrediction, Segment

SIZES = [(1, 1), (1, 37), (37, 1), (2, 3), (16, 16), (17, 33), (33, 17), (50, 41)]


def random_image(size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_nearest_positions_round_halves_away_from_zero() -> None:
    for source in range(1, 24):
        for target in range(1, 24):
            step = Fraction(source - 1, target - 1) if target > 1 else Fraction(0)
            expected = [floor(step * i + Fraction(1, 2)) for i in range(target)]
            assert select_nearest(source, target).tolist() == expected, (source, target)


def test_enlarging_an_image_is_bilinear_with_aligned_corners() -> None:
    image = random_image((7, 11))
    for size in [(7, 30), (13, 21), (40, 12)]:
        expected = F.interpolate(image[None].float(), size, mode="bilinear", align_corners=True)[0]
        assert (resize_image(image, size).float() - expected).abs().max() <= 1


@pytest.mark.parametrize("target", [30, 21, 13, 7])
def test_shrinking_keeps_the_corners_aligned(target: int) -> None:
    ramp = torch.arange(61, dtype=torch.uint8).mul(4)[None, None].expand(3, 5, 61)
    shrunk = resize_image(ramp, (5, target))[0, 2].double()
    expected = torch.linspace(0, 240, target, dtype=torch.float64)
    rim = 60 / (target - 1) * 4 / 2  # the filter is cut at the ends of the ramp
    assert (shrunk[1:-1] - expected[1:-1]).abs().max() <= 1
    assert (shrunk - expected).abs().max() <= rim


def test_shrinking_is_antialiased_and_symmetric() -> None:
    stripes = (torch.arange(64) % 2 * 200).to(torch.uint8)[None, None].expand(3, 64, 64).contiguous()
    shrunk = resize_image(stripes, (16, 16)).double()
    assert (shrunk[:, :, 1:-1] - 100).abs().max() < 5, "sampling without a filter would show black and white stripes"
    assert (shrunk - 100).abs().max() < 60
    image = random_image((40, 31))
    small = resize_image(image, (17, 9)).int()
    assert (resize_image(image.flip(-1), (17, 9)).flip(-1).int() - small).abs().max() <= 1


def test_one_axis_may_shrink_while_the_other_grows() -> None:
    image = torch.full((3, 20, 5), 77, dtype=torch.uint8)
    assert torch.equal(resize_image(image, (7, 13)), torch.full((3, 7, 13), 77, dtype=torch.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("longest_side", [None, 1, 24, 65])
@pytest.mark.parametrize("multiple", [1, 16, 32])
def test_prepare_pads_to_nesting_sizes_with_the_mean_color(
    size: tuple[int, int], longest_side: int | None, multiple: int
) -> None:
    preprocess = Preprocess(longest_side, multiple)
    pixels, geometry = prepare(random_image(size), preprocess)
    height, width = geometry.resized_size
    assert geometry.image_size == size
    assert max(geometry.resized_size) == (longest_side or max(size))
    assert pixels.shape == (3, *geometry.padded_size)
    assert pixels.dtype == torch.float32
    for resized, padded in zip(geometry.resized_size, geometry.padded_size, strict=True):
        assert (padded - 1) % multiple == 0
        assert padded > 1
        assert resized <= padded < max(resized, 2) + multiple
    assert pixels[:, height:].abs().sum() == 0
    assert pixels[:, :, width:].abs().sum() == 0


def test_prepare_without_resizing_only_normalizes() -> None:
    image = random_image((17, 33))
    preprocess = Preprocess(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    pixels, _ = prepare(image, preprocess)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    torch.testing.assert_close(pixels, (image / 255 - mean) / std)
    torch.testing.assert_close(normalize_batch(image[None], preprocess.mean, preprocess.std)[0], pixels)


def test_longest_side_keeps_the_proportion() -> None:
    # The sizes that deeplab2's resizing gives on COCO.
    assert fit_longest_side((480, 640), 641) == (481, 641)
    assert fit_longest_side((427, 640), 641) == (428, 641)
    assert fit_longest_side((333, 500), 641) == (427, 641)
    assert fit_longest_side((1, 4000), 100) == (1, 100)
    assert fit_longest_side((5, 7), None) == (5, 7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("longest_side", [None, 51, 65, 100, 151])
def test_enlarged_maps_come_back_unchanged(size: tuple[int, int], longest_side: int | None) -> None:
    ids = torch.arange(size[0] * size[1], dtype=torch.int32).view(size)
    _, geometry = prepare(random_image(size), Preprocess(longest_side))
    height, width = geometry.resized_size
    seen = torch.full(geometry.padded_size, -1, dtype=torch.int32)
    seen[:height, :width] = resize_map(ids, (height, width))
    restored = restore_map(seen, geometry)
    assert restored.dtype == torch.int32
    assert torch.equal(restored, ids)


def test_shrunken_maps_come_back_at_full_size_without_new_ids() -> None:
    geometry = Geometry((50, 41), (17, 14), (17, 17))
    seen = torch.randint(0, 5, (17, 17), generator=torch.Generator().manual_seed(0))
    restored = restore_map(seen, geometry)
    assert restored.shape == (50, 41)
    assert restored[0, 0] == seen[0, 0]
    assert restored[-1, -1] == seen[16, 13]
    assert set(restored.unique().tolist()) <= set(seen[:, :14].unique().tolist())


@pytest.mark.parametrize("size", SIZES)
def test_outputs_without_resizing_are_cropped_and_nothing_else(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    _, geometry = prepare(random_image(size), Preprocess())
    output = PanopticOutput(*(torch.randn(2, n, *geometry.padded_size, generator=generator) for n in (4, 1, 2)))
    for before, after in zip(output, restore_output(output, geometry), strict=True):
        assert torch.equal(after, before[..., : size[0], : size[1]])


@pytest.mark.parametrize("resized_size", [(17, 33), (9, 12), (60, 71)])
def test_restored_offsets_still_point_to_the_center(resized_size: tuple[int, int]) -> None:
    image_size, center = (31, 52), torch.tensor([3.25, 7.5])
    geometry = Geometry(image_size, resized_size, (65, 81))
    grid = torch.stack(torch.meshgrid(torch.arange(65.0), torch.arange(81.0), indexing="ij"))
    offset = (center.view(2, 1, 1) - grid)[None]
    output = PanopticOutput(torch.zeros(1, 3, 65, 81), torch.zeros(1, 1, 65, 81), offset)
    restored = restore_output(output, geometry)
    assert [tuple(values.shape[-2:]) for values in restored] == [image_size] * 3
    scale = torch.tensor([(big - 1) / (small - 1) for big, small in zip(image_size, resized_size, strict=True)])
    pixels = torch.stack(torch.meshgrid(torch.arange(31.0), torch.arange(52.0), indexing="ij"))
    expected = (center * scale).view(2, 1, 1).expand_as(pixels)
    torch.testing.assert_close(pixels + restored.offset[0], expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("image_size", "resized_size"), [((1, 9), (1, 17)), ((1, 1), (16, 16)), ((3, 90), (1, 17))])
def test_sides_of_one_pixel_give_finite_offsets(image_size: tuple[int, int], resized_size: tuple[int, int]) -> None:
    output = PanopticOutput(torch.zeros(1, 3, 17, 17), torch.zeros(1, 1, 17, 17), torch.ones(1, 2, 17, 17))
    restored = restore_output(output, Geometry(image_size, resized_size, (17, 17)))
    assert restored.offset.shape == (1, 2, *image_size)
    assert restored.offset.isfinite().all()


def test_restored_predictions_count_their_pixels_anew() -> None:
    panoptic_map = torch.zeros(17, 17, dtype=torch.int32)
    panoptic_map[:4, :4] = 5
    panoptic_map[12:, 12:] = 9  # in the padding
    segments = [Segment(5, 1, True, score=0.5, area=16), Segment(9, 0, False, area=25)]
    restored = restore_prediction(PanopticPrediction(panoptic_map, segments), Geometry((23, 23), (12, 12), (17, 17)))
    assert restored.panoptic_map.shape == (23, 23)
    assert restored.segments == [segments[0]._replace(area=int((restored.panoptic_map == 5).sum()))]


def test_measure_segments_keeps_order_and_flags() -> None:
    panoptic_map = torch.tensor([[16_000_000, 3], [3, 0]], dtype=torch.int32)
    crowd = Segment(16_000_000, 2, True, area=7, is_crowd=True)
    segments = measure_segments(panoptic_map, [crowd, Segment(4, 0, False, area=1), Segment(3, 1, True)])
    assert segments == [crowd._replace(area=1), Segment(3, 1, True, area=2)]


def test_preprocess_travels_through_json() -> None:
    preprocess = Preprocess(longest_side=641, mean=(0.5, 0.5, 0.25))
    assert Preprocess(**json.loads(json.dumps(asdict(preprocess)))) == preprocess


def test_preprocess_refuses_nonsense() -> None:
    with pytest.raises(InputError, match="multiple"):
        Preprocess(multiple=0)
    with pytest.raises(InputError, match="longest_side"):
        Preprocess(longest_side=0)
    with pytest.raises(InputError, match="std"):
        Preprocess(std=(0.2, 0.0, 0.2))
