"""AutoAugment: each operation against its definition, the policy's table, and how often it is applied."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.classification.auto_augment import FILL, MAX_LEVEL, OPERATIONS, POLICY, auto_augment
from tests.data.classification.photos import make_photo

PHOTO = make_photo(40, 50)


def apply(name: str, level: int, sign: int = 1) -> np.ndarray:
    return np.array(OPERATIONS[name](PHOTO, level / MAX_LEVEL, sign)).astype(int)


def test_the_table_is_complete() -> None:
    steps = [step for pair in POLICY for step in pair]
    assert len(POLICY) == 25
    assert {step.operation for step in steps} == set(OPERATIONS)
    assert all(0 <= step.probability <= 1 and 0 <= step.level <= MAX_LEVEL for step in steps)


def test_operations_on_values() -> None:
    pixels = np.array(PHOTO).astype(int)
    assert (apply("invert", 4) == 255 - pixels).all()
    assert (apply("solarize", 5) == np.where(pixels < 128, pixels, 255 - pixels)).all()
    assert (apply("solarize", 10) == pixels).all()
    assert (apply("solarize_add", 7) == np.where(pixels < 128, np.minimum(pixels + 77, 255), pixels)).all()
    assert (apply("posterize", 6) == pixels // 64 * 64).all()
    assert (apply("posterize", 2) == pixels // 128 * 128).all()


def test_color_scales_the_distance_from_gray() -> None:
    gray = np.array(PHOTO.convert("L")).astype(int)[..., None]
    expected = gray + (0.1 + 1.8 * 0.9) * (np.array(PHOTO) - gray)
    assert abs(apply("color", 9) - expected.clip(0, 255)).max() <= 1
    assert abs(apply("color", 5) - np.array(PHOTO)).max() <= 1


@pytest.mark.parametrize("name", ["equalize", "auto_contrast"])
def test_spreading_uses_the_whole_range(name: str) -> None:
    dull = Image.fromarray((np.array(PHOTO) // 4 + 90).astype(np.uint8))
    result = np.array(OPERATIONS[name](dull, 0.5, 1))
    assert (result.min(axis=(0, 1)) == 0).all()
    assert (result.max(axis=(0, 1)) >= 254).all()  # Pillow rounds down


@pytest.mark.parametrize("sign", [1, -1])
def test_operations_that_move_pixels(sign: int) -> None:
    pixels = np.array(PHOTO).astype(int)
    moved = apply("translate_y", 9, sign)
    rows = round(0.9 * 150 / 331 * 40)
    assert (moved[:-rows] == pixels[rows:]).all() if sign > 0 else (moved[rows:] == pixels[:-rows]).all()
    assert (moved[-rows:] == FILL).all() if sign > 0 else (moved[:rows] == FILL).all()
    sheared = apply("shear_x", 10, sign)
    for row in (0, 11, 39):
        sources = np.floor(np.arange(50) + 0.5 + sign * 0.3 * (row + 0.5)).astype(int)
        inside = (sources >= 0) & (sources < 50)
        assert (sheared[row, inside] == pixels[row, sources[inside]]).all()
        assert (sheared[row, ~inside] == FILL).all()
    assert (apply("shear_y", 10, sign)[:, 0] == pixels[:, 0]).all()
    assert (apply("rotate", 10, sign) == np.array(PHOTO.rotate(30 * sign, fillcolor=FILL))).all()


def test_steps_come_with_their_chances(monkeypatch: pytest.MonkeyPatch) -> None:
    applied: Counter[str] = Counter()
    signs = []

    def record(name: str) -> Callable[[Image.Image, float, int], Image.Image]:
        def operate(picture: Image.Image, level: float, sign: int) -> Image.Image:
            applied[name] += 1
            signs.append(sign)
            return picture

        return operate

    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, record(name))
    image, generator, draws = torch.zeros(3, 2, 2, dtype=torch.uint8), torch.Generator().manual_seed(0), 10000
    for _ in range(draws):
        auto_augment(image, generator)
    for name in OPERATIONS:
        expected = sum(step.probability for pair in POLICY for step in pair if step.operation == name) / len(POLICY)
        assert applied[name] / draws == pytest.approx(expected, abs=0.02)
    assert sum(signs) / len(signs) == pytest.approx(0, abs=0.03)
