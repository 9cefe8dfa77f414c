"""Folders of generated images with one class each: flat colors with noise, easy to tell apart."""

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}


def write_split(root: Path, split: str, count: int, *, classes: int = 3, seed: int = 0) -> None:
    """Write `count` images of each class, 40 pixels high and 48 wide, to ROOT/SPLIT/CLASS/NUMBER.png."""
    generator = np.random.default_rng(seed)
    for name, color in list(COLORS.items())[:classes]:
        (root / split / name).mkdir(parents=True)
        for number in range(count):
            noise = generator.integers(-30, 30, (40, 48, 3))
            pixels = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / split / name / f"{number}.png")


def write_images(root: Path, *, train: int = 3, val: int = 2) -> Path:
    """Write both splits and return the root."""
    write_split(root, "train", train)
    write_split(root, "val", val, seed=1)
    return root
