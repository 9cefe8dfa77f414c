"""Augmentation and preparation of classified images: the crops' law, the resizing, repeatable choices."""

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.classification.augment import (
    ClassAugmentConfig,
    augment_class,
    augment_encoded,
    cut_resized,
    draw_crop,
)
from axial_deeplab.data.classification.decode import decode_image
from axial_deeplab.data.classification.prepare import ScoringConfig, prepare_class
from axial_deeplab.data.classification.records import EncodedImage
from axial_deeplab.errors import InputError
from tests.data.classification.photos import encode, make_photo


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_crops_follow_their_law() -> None:
    height, width, generator = 375, 500, seed(0)
    crops = [draw_crop((height, width), ClassAugmentConfig(), generator) for _ in range(4000)]
    areas = torch.tensor([crop.height * crop.width / (height * width) for crop in crops])
    ratios = torch.tensor([crop.width / crop.height for crop in crops])
    assert all(crop.top >= 0 and crop.top + crop.height <= height for crop in crops)
    assert all(crop.left >= 0 and crop.left + crop.width <= width for crop in crops)
    assert 0.079 < areas.min() < 0.1
    assert 0.9 < areas.max() <= 1
    assert areas.histc(9, 0.08, 0.53).std() < 40  # uniform as long as every crop fits
    assert 0.74 < ratios.min() < 0.76
    assert 1.32 < ratios.max() < 1.35
    assert abs(torch.tensor([crop.top / (height - crop.height + 1) for crop in crops]).mean() - 0.5) < 0.02


@pytest.mark.parametrize(
    ("size", "crop"), [((10, 1000), (0, 493, 10, 13)), ((1000, 9), (494, 0, 12, 9)), ((1, 1), (0, 0, 1, 1))]
)
def test_narrow_images_are_cropped_at_the_center(size: tuple[int, int], crop: tuple[int, ...]) -> None:
    assert draw_crop(size, ClassAugmentConfig(min_area=1), seed(0)) == crop


def test_crops_are_resized_as_pillow_does() -> None:
    photo = make_photo(120, 160)
    crop = draw_crop((120, 160), ClassAugmentConfig(min_area=0.5), seed(3))
    result = cut_resized(to_tensor(photo), crop, 48)
    cut = photo.crop((crop.left, crop.top, crop.left + crop.width, crop.top + crop.height))
    expected = to_tensor(cut.resize((48, 48), Image.Resampling.BILINEAR))
    assert (result.int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize(
    "config",
    [ClassAugmentConfig(32), ClassAugmentConfig(32, color_jitter=0.4), ClassAugmentConfig(32, auto_augment=True)],
)
def test_the_generator_decides_alone(config: ClassAugmentConfig) -> None:
    image = to_tensor(make_photo(60, 80))
    before = image.clone()
    results = []
    for number in range(6):
        torch.manual_seed(number)
        first, second = (augment_class(image, config, seed(number)) for _ in range(2))
        assert torch.equal(first, second)
        assert (first.shape, first.dtype, first.is_contiguous()) == ((3, 32, 32), torch.uint8, True)
        results.append(first)
    assert len({tuple(result.flatten().tolist()) for result in results}) == 6
    assert torch.equal(image, before)


def test_half_of_the_images_are_mirrored() -> None:
    image = to_tensor(make_photo(32, 32))
    still = ClassAugmentConfig(32, min_area=1, min_ratio=1, max_ratio=1)
    results = [augment_class(image, still, seed(number)) for number in range(200)]
    mirrored = sum(torch.equal(result, image.flip(2)) for result in results)
    assert mirrored + sum(torch.equal(result, image) for result in results) == 200
    assert 75 < mirrored < 125


def test_files_are_augmented_as_decoded_images_are() -> None:
    data, config = encode(make_photo(90, 120), quality=95), ClassAugmentConfig(64, auto_augment=True)
    image = decode_image(data, "x")
    for number in range(10):
        result = augment_encoded(EncodedImage(data, 3, "x"), config, seed(number))
        assert (result.label, result.file_name) == (3, "x")
        assert torch.equal(result.image, augment_class(image, config, seed(number)))


def test_reduced_decoding_hardly_changes_a_crop() -> None:
    data, config = encode(make_photo(301, 403), quality=95), ClassAugmentConfig(64, min_area=0.5)
    image = decode_image(data, "x")
    for number in range(10):
        result = augment_encoded(EncodedImage(data, 0, "x"), config, seed(number)).image
        exact = augment_class(image, config, seed(number))
        assert 0 < (result.int() - exact.int()).abs().float().mean() < 3


@pytest.mark.parametrize("size", [(300, 401), (401, 300), (100, 100), (50, 333)])
def test_scoring_takes_the_center(size: tuple[int, int]) -> None:
    photo = make_photo(*size)
    result = prepare_class(to_tensor(photo), ScoringConfig(resize=64, crop=56))
    height, width = (64 * side // min(size) for side in size)
    resized = photo.resize((width, height), Image.Resampling.BILINEAR)
    top, left = round((height - 56) / 2), round((width - 56) / 2)
    expected = to_tensor(resized.crop((left, top, left + 56, top + 56)))
    assert (result.int() - expected.int()).abs().max() <= 1
    assert result.is_contiguous()


def test_scoring_can_keep_the_image() -> None:
    image = to_tensor(make_photo(33, 47))
    assert torch.equal(prepare_class(image, ScoringConfig(crop=0)), image)


@pytest.mark.parametrize(
    "values",
    [{"crop": 0}, {"min_area": 0}, {"min_area": 0.9, "max_area": 0.5}, {"max_area": 2}, {"min_ratio": 2}, {"flip": 2}],
)
def test_impossible_augmentation_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        ClassAugmentConfig(**values)  # type: ignore[arg-type]


def test_impossible_scoring_is_refused() -> None:
    with pytest.raises(InputError, match="crop <= resize"):
        ScoringConfig(resize=100, crop=224)
