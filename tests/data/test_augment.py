"""Augmentation: image and ids move together, the truth stays the truth, the same seed gives the same record."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from axial_deeplab.data.augment import PAD_GRAY, AugmentConfig, augment, jitter_color
from axial_deeplab.errors import InputError
from axial_deeplab.records import VOID_ID, PanopticRecord, Segment

STILL = AugmentConfig((40, 60), min_scale=1, max_scale=1, flip=0)


def make_blocks(height: int, width: int, block: int = 10) -> PanopticRecord:
    """Tile an image with segments of one color each: red is 2 * id, green 255 - 2 * id."""
    rows, columns = torch.arange(height) // block, torch.arange(width) // block
    ids = (rows[:, None] * (-(-width // block)) + columns + 1).int()
    image = torch.stack([2 * ids, 255 - 2 * ids, torch.full_like(ids, 50)]).to(torch.uint8)
    segments = tuple(
        Segment(i, i % 3, True, area=int((ids == i).sum()), is_crowd=i == 2) for i in ids.unique().tolist()
    )
    return PanopticRecord(image, ids, segments, "blocks", "blocks.png")


def find_inner(ids: torch.Tensor, reach: int) -> torch.Tensor:
    """Return the pixels whose neighborhood belongs to one segment."""
    values = F.pad(ids[None].float(), [reach] * 4, mode="replicate")
    highest = F.max_pool2d(values, 2 * reach + 1, stride=1)
    lowest = -F.max_pool2d(-values, 2 * reach + 1, stride=1)
    return (highest == lowest)[0]


def test_without_changes_the_record_stays_itself() -> None:
    record = make_blocks(40, 60)
    result = augment(record, STILL, np.random.default_rng(0))
    assert torch.equal(result.image, record.image)
    assert torch.equal(result.panoptic_map, record.panoptic_map)
    assert result.segments == record.segments
    assert (result.image_id, result.file_name) == ("blocks", "blocks.png")


def test_the_generator_decides_everything() -> None:
    record = make_blocks(70, 90)
    config = AugmentConfig((33, 49), vertical_flip=0.5, color_jitter=0.5)
    first, again, other = (augment(record, config, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.panoptic_map, again.panoptic_map)
    assert not torch.equal(first.image, other.image)


@pytest.mark.parametrize("scale", [0.4, 0.5, 0.77, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("crop_size", [(33, 49), (65, 33), (129, 97)])
def test_image_and_ids_stay_on_top_of_each_other(scale: float, crop_size: tuple[int, int]) -> None:
    record = make_blocks(70, 90)
    config = AugmentConfig(crop_size, min_scale=scale, max_scale=scale, vertical_flip=0.5)
    for seed in range(8):
        result = augment(record, config, np.random.default_rng(seed))
        assert result.image.shape == (3, *crop_size)
        assert result.panoptic_map.shape == crop_size
        assert result.image.dtype == torch.uint8
        assert result.panoptic_map.dtype == torch.int32
        void = result.panoptic_map == VOID_ID
        assert (result.image[:, void] == PAD_GRAY).all()
        sure = find_inner(result.panoptic_map, 1) & ~void
        assert sure.any()
        assert (result.image[0].int() - 2 * result.panoptic_map)[sure].abs().max() <= 1


def test_segments_are_those_in_the_crop_with_their_areas() -> None:
    record = make_blocks(70, 90)
    vanished = 0
    for seed in range(10):
        result = augment(record, AugmentConfig((33, 33)), np.random.default_rng(seed))
        ids, areas = result.panoptic_map.unique(return_counts=True)
        expected = {i: area for i, area in zip(ids.tolist(), areas.tolist(), strict=True) if i != VOID_ID}
        assert {segment.id: segment.area for segment in result.segments} == expected
        assert all(segment.is_crowd == (segment.id == 2) for segment in result.segments)
        vanished += len(record.segments) - len(result.segments)
    assert vanished > 0


def test_small_images_lie_anywhere_in_the_crop() -> None:
    record = make_blocks(10, 10)
    config = AugmentConfig((12, 12), min_scale=1, max_scale=1, flip=0)
    corners = set()
    for seed in range(100):
        inside = augment(record, config, np.random.default_rng(seed)).panoptic_map != VOID_ID
        assert inside.sum() == 100
        corners.add(tuple(inside.nonzero()[0].tolist()))
    assert corners == {(y, x) for y in range(3) for x in range(3)}


def test_crops_reach_every_part_of_the_image() -> None:
    record = make_blocks(30, 40)
    config = AugmentConfig((28, 38), min_scale=1, max_scale=1, flip=0)
    seen = {int(augment(record, config, np.random.default_rng(seed)).panoptic_map[0, 0] == 1) for seed in range(20)}
    corners = set()
    marked = record._replace(panoptic_map=torch.arange(1200, dtype=torch.int32).view(30, 40) + 1, segments=())
    for seed in range(100):
        corners.add(int(augment(marked, config, np.random.default_rng(seed)).panoptic_map[0, 0]) - 1)
    assert corners == {40 * y + x for y in range(3) for x in range(3)}
    assert seen == {1}


def test_scales_come_in_steps_or_from_the_whole_interval() -> None:
    record = make_blocks(10, 10)

    def draw_heights(steps: int | None) -> set[int]:
        config = AugmentConfig((40, 40), min_scale=0.5, max_scale=1.5, scale_steps=steps)
        results = [augment(record, config, np.random.default_rng(seed)) for seed in range(60)]
        return {int((result.panoptic_map != VOID_ID).any(1).sum()) for result in results}

    assert draw_heights(3) == {5, 10, 15}
    assert draw_heights(1) == {5}
    assert len(draw_heights(None)) > 8


def test_longest_side_comes_before_the_scale() -> None:
    config = AugmentConfig((100, 100), min_scale=1, max_scale=1, longest_side=80)
    inside = augment(make_blocks(20, 40), config, np.random.default_rng(0)).panoptic_map != VOID_ID
    assert (int(inside.any(1).sum()), int(inside.any(0).sum())) == (40, 80)


def test_flips_mirror_image_and_ids() -> None:
    record = make_blocks(40, 60)
    for config, axes in (
        (AugmentConfig((40, 60), 1, 1, flip=1), [-1]),
        (AugmentConfig((40, 60), 1, 1, flip=0, vertical_flip=1), [-2]),
        (AugmentConfig((40, 60), 1, 1, flip=1, vertical_flip=1), [-2, -1]),
    ):
        result = augment(record, config, np.random.default_rng(0))
        assert torch.equal(result.image, record.image.flip(axes))
        assert torch.equal(result.panoptic_map, record.panoptic_map.flip(axes))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 2)])
def test_tiny_images_work(size: tuple[int, int]) -> None:
    config = AugmentConfig((17, 17), color_jitter=0.3)
    for seed in range(10):
        result = augment(make_blocks(*size), config, np.random.default_rng(seed))
        assert result.image.shape == (3, 17, 17)
        assert sum(segment.area for segment in result.segments) == (result.panoptic_map != VOID_ID).sum()


def test_color_jitter_leaves_ids_and_padding_alone() -> None:
    record = make_blocks(20, 20)
    config = AugmentConfig((40, 40), min_scale=1, max_scale=1, color_jitter=1.0)
    result = augment(record, config, np.random.default_rng(1))
    void = result.panoptic_map == VOID_ID
    assert (result.image[:, void] == PAD_GRAY).all()
    assert void.sum() == 40 * 40 - 400
    assert not torch.equal(result.image[:, ~void].sort().values, record.image.flatten(1).sort().values)


def test_jitter_is_brightness_then_contrast_then_saturation() -> None:
    image = torch.randint(60, 150, (3, 9, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    brightness, contrast, saturation = np.random.default_rng(5).uniform(0.8, 1.2, size=3).tolist()

    def get_gray(pixels: torch.Tensor) -> torch.Tensor:
        return 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2]

    expected = image.double() * brightness
    mean = get_gray(expected).mean()
    expected = mean + contrast * (expected - mean)
    expected = get_gray(expected) + saturation * (expected - get_gray(expected))
    result = jitter_color(image, 0.2, np.random.default_rng(5))
    assert result.dtype == torch.uint8
    assert (result - expected).abs().max() <= 0.51


def test_jitter_of_strength_zero_is_nothing() -> None:
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(jitter_color(image, 0.0, np.random.default_rng(0)), image)


def test_bad_recipes_fail_at_once() -> None:
    with pytest.raises(InputError, match="crop_size"):
        AugmentConfig((0, 10))
    with pytest.raises(InputError, match="min_scale"):
        AugmentConfig((10, 10), min_scale=2, max_scale=1)
    with pytest.raises(InputError, match="scale_steps"):
        AugmentConfig((10, 10), scale_steps=0)
    with pytest.raises(InputError, match="longest_side"):
        AugmentConfig((10, 10), longest_side=0)
    with pytest.raises(InputError, match="color_jitter"):
        AugmentConfig((10, 10), color_jitter=1.5)
    assert AugmentConfig([10, 12]).crop_size == (10, 12)  # type: ignore[arg-type]
