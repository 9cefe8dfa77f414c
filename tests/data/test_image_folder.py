"""Every kind of image file becomes 8-bit RGB; what cannot be read is refused in one line that names the file."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from axial_deeplab.data.image_folder import find_images, read_image, to_rgb, to_rgb_array
from axial_deeplab.errors import InputError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLORS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def read(path: Path) -> np.ndarray:
    """Read a file and check that it comes as plain RGB."""
    image = read_image(path)
    assert image.mode == "RGB"
    array = np.asarray(image)
    assert array.dtype == np.uint8
    assert array.shape == (image.height, image.width, 3)
    return array


def assert_gray(array: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(array, expected[..., None].repeat(3, -1))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])  # only WebP heeds "lossless"
def test_lossless_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(COLORS).save(path, lossless=True)
    np.testing.assert_array_equal(read(path), COLORS)


def test_str_path_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(COLORS).save(path)
    for source in (str(path), path.read_bytes()):
        np.testing.assert_array_equal(to_rgb_array(read_image(source)), COLORS)


def test_gray(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "image.png")
    assert_gray(read(tmp_path / "image.png"), RAMP)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_keeps_the_full_range(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 128, 129, 257], [385, 386, 65406, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"image.{suffix}")
    assert_gray(read(tmp_path / f"image.{suffix}"), np.array([[0, 0, 1, 1], [1, 2, 254, 255]], np.uint8))


def test_16_bit_values_in_32_bits_are_scaled_alike() -> None:
    assert_gray(to_rgb_array(Image.fromarray(np.array([[0, 257, 65535]], np.int32))), np.array([[0, 1, 255]], np.uint8))


def test_float_tiff_is_stretched_from_its_own_range(tmp_path: Path) -> None:
    values = np.array([[-1.0, 0.0, 1.0], [np.nan, np.inf, -np.inf]], np.float32)
    Image.fromarray(values).save(tmp_path / "image.tif")
    assert_gray(read(tmp_path / "image.tif"), np.array([[0, 128, 255], [0, 0, 0]], np.uint8))


@pytest.mark.parametrize("value", [0.25, np.nan])
def test_float_without_any_range_is_black(value: float) -> None:
    image = Image.fromarray(np.full((2, 3), value, np.float32))
    assert_gray(to_rgb_array(image), np.zeros((2, 3), np.uint8))


def test_integers_beyond_16_bits_are_stretched() -> None:
    image = Image.fromarray(np.array([[-100000, 0, 100000]], np.int32))
    assert_gray(to_rgb_array(image), np.array([[0, 128, 255]], np.uint8))


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    alpha = np.full((12, 20, 1), 7, np.uint8)
    Image.fromarray(np.dstack([COLORS, alpha])).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read(tmp_path / "rgba.png"), COLORS)
    Image.fromarray(np.dstack([RAMP, RAMP // 2])).save(tmp_path / "la.png")
    with Image.open(tmp_path / "la.png") as image:
        assert image.mode == "LA"
    assert_gray(read(tmp_path / "la.png"), RAMP)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "image.png", transparency=transparency)
    np.testing.assert_array_equal(read(tmp_path / "image.png"), [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]])


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (255, 0, 0, 0)).save(tmp_path / "image.jpg", quality=100)
    np.testing.assert_allclose(read(tmp_path / "image.jpg").astype(int), [[[0, 255, 255]] * 16] * 16, atol=3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_rotation_is_applied(tmp_path: Path, suffix: str) -> None:
    picture = np.zeros((16, 32, 3), np.uint8)
    picture[:, :16] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(picture).save(tmp_path / f"image.{suffix}", exif=exif)
    array = read(tmp_path / f"image.{suffix}")
    assert array.shape == (32, 16, 3)
    assert array[:14].min() > 240
    assert array[18:].max() < 15


def test_an_image_in_memory_is_rotated_and_left_as_it_was() -> None:
    image = Image.fromarray(COLORS)
    image.getexif()[ExifTags.Base.Orientation] = 3
    np.testing.assert_array_equal(to_rgb_array(image), COLORS[::-1, ::-1])
    np.testing.assert_array_equal(np.asarray(image), COLORS)
    assert to_rgb(Image.fromarray(COLORS)).mode == "RGB"


def test_one_pixel_and_one_bit(tmp_path: Path) -> None:
    Image.fromarray(COLORS[:1, :1]).save(tmp_path / "pixel.png")
    np.testing.assert_array_equal(read(tmp_path / "pixel.png"), COLORS[:1, :1])
    Image.fromarray(RAMP > 100).save(tmp_path / "bits.png")
    with Image.open(tmp_path / "bits.png") as image:
        assert image.mode == "1"
    assert_gray(read(tmp_path / "bits.png"), np.where(RAMP > 100, 255, 0).astype(np.uint8))


def test_the_first_frame_of_a_gif(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "image.gif", save_all=True, append_images=frames[1:])
    assert_gray(read(tmp_path / "image.gif"), np.full((4, 4), 10, np.uint8))


def test_the_first_of_the_two_pictures_of_a_stereo_jpeg(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "image.jpg", format="MPO", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read(tmp_path / "image.jpg"), 10)


def encode(format_name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, format_name)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("short.jpg", encode("JPEG")[:1500]),
        ("short.png", encode("PNG")[:1500]),
        ("short.tif", encode("TIFF")[:1500]),
        ("text.png", b"this is not an image\n"),
        ("empty.png", b""),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as an image") as caught:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=f"image of {len(content)} bytes cannot be read"):
        read_image(content)


def test_absent_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.png does not exist"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match="Is a directory"):
        read_image(tmp_path)


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(COLORS).save(tmp_path / "image.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"image\.png is too large"):
        read_image(tmp_path / "image.png")


def test_find_images(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    names = ["b.PNG", "a.jpg", ".hidden.png", "notes.txt", "odd", "deep/c.tif"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    a, b, odd, c = (tmp_path / name for name in ("a.jpg", "b.PNG", "odd", "deep/c.tif"))
    assert find_images([tmp_path]) == [a, b]
    assert find_images([odd, str(tmp_path), a]) == [odd, a, b]
    assert find_images([f"{tmp_path}/**/*"]) == [a, b, c]
    assert find_images([f"{tmp_path}/*.jpg", tmp_path / "deep"]) == [a, c]
    for nothing in ("absent.png", "*.gif", "deep/*.png"):
        with pytest.raises(InputError, match="names no image"):
            find_images([tmp_path / "a.jpg", f"{tmp_path}/{nothing}"])


def test_folder_of_folders_gives_their_images(tmp_path: Path) -> None:
    inside = [tmp_path / "b" / "2.png", tmp_path / "a" / "1.png"]
    for path in inside:
        path.parent.mkdir()
        Image.fromarray(COLORS).save(path)
    assert find_images([tmp_path]) == sorted(inside)
    Image.fromarray(COLORS).save(tmp_path / "0.png")
    assert find_images([tmp_path]) == [tmp_path / "0.png"]
