"""Images that compress as photographs do, and folders of them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def make_photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Draw soft blobs with a little noise."""
    random = np.random.default_rng(seed)
    blobs = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    pixels = np.asarray(blobs.resize((width, height), Image.Resampling.BICUBIC)).astype(np.float64)
    noisy = pixels + random.normal(0, 4, (height, width, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def write_tree(root: Path, counts: dict[str, int]) -> Path:
    """Write as many JPEGs as `counts` says into folders such as "train/daisy"."""
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            data = encode(make_photo(40, 48, seed=number), quality=90)
            (root / folder / f"{number}.jpg").write_bytes(data)
    return root
