"""A small sound data set, and what damages it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from axial_deeplab.data.panoptic_png import encode_ids
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.records import Category, PanopticPrediction, Segment

CATEGORIES = (Category(7, "cell", True), Category(3, "glass", False), Category(4, "dirt", False))
HEIGHT, WIDTH = 40, 48
IDS = {"cell 1": 70000, "cell 2": 70001, "glass": 300, "dirt": 5}


def make_map() -> np.ndarray:
    """Return two cells, 8 x 10 and 6 x 6 pixels, glass with dirt below, and a void corner; int32 [height, width]."""
    ids = np.full((HEIGHT, WIDTH), IDS["glass"], np.int32)
    ids[4:12, 5:15], ids[20:26, 30:36] = IDS["cell 1"], IDS["cell 2"]
    ids[36:], ids[:2, :2] = IDS["dirt"], 0
    return ids


def write_set(root: Path, images: int = 2) -> Path:
    """Write splits train, with that many images, and val, with one."""
    segments = [Segment(70000, 0, True), Segment(70001, 0, True), Segment(300, 1, False), Segment(5, 2, False)]
    generator = np.random.default_rng(0)
    for split, count, first in (("train", images, 1), ("val", 1, 1001)):
        with PanopticWriter(root / "annotations" / f"panoptic_{split}.json", CATEGORIES) as writer:
            for image_id in range(first, first + count):
                pixels = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
                (root / "images" / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / "images" / split / f"{image_id}.png")
                writer.add(image_id, f"{image_id}.png", PanopticPrediction(torch.from_numpy(make_map()), segments))
    return root


def edit(root: Path, change: Callable[[dict[str, Any]], object], split: str = "train") -> None:
    """Change the JSON of a split."""
    path = root / "annotations" / f"panoptic_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def repaint(root: Path, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Change the ids of image 1 of train, in place or by the array that is returned."""
    ids = make_map()
    changed = change(ids)
    path = root / "annotations" / "panoptic_train" / "1.png"
    Image.fromarray(encode_ids(ids if changed is None else changed)).save(path)


def get_segment(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an entry of the segments of image 1."""
    (segment,) = (s for s in content["annotations"][0]["segments_info"] if s["id"] == IDS[name])
    return segment
