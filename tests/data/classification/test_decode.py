"""Decoding: the same pixels whatever library decodes, upright, of every form that sets contain; damage is named."""

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.data.classification import decode
from axial_deeplab.data.classification.decode import choose_reduction, decode_image, measure_image
from axial_deeplab.data.image_folder import read_image
from axial_deeplab.errors import InputError
from tests.data.classification.photos import encode, make_photo


@pytest.fixture(params=["simplejpeg", "Pillow"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test with and without the fast decoder."""
    if request.param == "Pillow":
        monkeypatch.setattr(decode, "find_simplejpeg", lambda: None)
    else:
        pytest.importorskip("simplejpeg")
    return str(request.param)


def read_slowly(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(read_image(data))).permute(2, 0, 1)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_decode_as_pillow_does(mode: str) -> None:
    data = encode(make_photo(75, 101).convert(mode), quality=90)
    assert torch.equal(decode_image(data, "x"), read_slowly(data))
    assert measure_image(data, "x") == (75, 101)


def test_images_are_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter to the right
    data = encode(make_photo(60, 90), exif=exif)
    assert measure_image(data, "x") == (90, 60)
    assert torch.equal(decode_image(data, "x"), read_slowly(data))
    assert decode_image(data, "x", reduction=2).shape == (3, 45, 30)


def test_a_png_named_jpg_is_read() -> None:
    data = encode(make_photo(20, 30), "PNG")
    assert measure_image(data, "x.jpg") == (20, 30)
    assert torch.equal(decode_image(data, "x.jpg"), read_slowly(data))


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_reduced_images_are_averages(reduction: int) -> None:
    data = encode(make_photo(175, 250), quality=95)
    reduced = decode_image(data, "x", reduction=reduction)
    expected = read_image(data).reduce(reduction)
    assert reduced.shape == (3, expected.height, expected.width)
    error = (reduced - torch.from_numpy(np.array(expected)).permute(2, 0, 1).float()).abs()
    assert error.mean() < 2


def test_reductions_leave_enough_pixels() -> None:
    assert choose_reduction((447, 900), (224, 224)) == 1
    assert choose_reduction((448, 448), (224, 224)) == 2
    assert choose_reduction((5000, 5000), (224, 224)) == 8


@pytest.mark.parametrize("length", [0, 2, 20, 300, 2000])
def test_cut_files_are_named(length: int) -> None:
    data = encode(make_photo(75, 100), quality=90)
    assert len(data) > 2500
    for read in (decode_image, measure_image) if length <= 300 else (decode_image,):  # by then the header is over
        with pytest.raises(InputError, match=r"^daisy/1\.jpg cannot be read as an image"):
            read(data[:length], "daisy/1.jpg")
