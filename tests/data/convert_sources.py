"""Miniature data sets in every source format: a 6×8 image has a red square over a blue one, two images a set."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (6, 8)
NAMES = ("a", "b")
# Both squares in continuous coordinates: (left, top, right, bottom). The later one hides four pixels of the first.
CAT_BOX, DOG_BOX = (0, 0, 4, 4), (2, 2, 6, 6)
OVERLAPPED = 4 * len(NAMES)


def make_classes() -> np.ndarray:
    """Return what any conversion must find: 0 background, 1 cat, 2 dog."""
    classes = np.zeros(SIZE, int)
    for value, (left, top, right, bottom) in ((1, CAT_BOX), (2, DOG_BOX)):
        classes[top:bottom, left:right] = value
    return classes


def write_picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3)).astype(np.uint8)).save(path)


def get_corners(box: tuple[int, int, int, int]) -> list[list[float]]:
    left, top, right, bottom = box
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def encode_png(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray((mask * 255).astype(np.uint8)).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def write_labelme(root: Path) -> Path:
    for name in NAMES:
        write_picture(root / f"{name}.png")
        shapes = [
            {"label": "cat", "points": get_corners(CAT_BOX), "shape_type": "polygon", "group_id": None},
            {"label": "dog", "points": [[6, 6], [2, 2]], "shape_type": "rectangle", "group_id": None},
        ]
        write_json(
            root / f"{name}.json", {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": 6, "imageWidth": 8}
        )
    return root


def write_cvat_masks(root: Path) -> Path:
    colors = {0: (0, 0, 0), 1: (10, 20, 30), 2: (40, 50, 60)}
    for name in NAMES:
        write_picture(root / "JPEGImages" / f"{name}.png")
        for folder, scale in (("SegmentationClass", 1), ("SegmentationObject", 3)):
            (root / folder).mkdir(exist_ok=True)
            pixels = np.array([colors[value] for value in range(3)])[make_classes()] * scale
            Image.fromarray(pixels.astype(np.uint8)).save(root / folder / f"{name}.png")
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "cat:10,20,30::", "dog:40,50,60::", ""]
    (root / "labelmap.txt").write_text("\n".join(lines))
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "default.txt").write_text("a\nb\n")
    return root


def write_coco(root: Path) -> Path:
    images, annotations = [], []
    for number, name in enumerate(NAMES, start=7):
        write_picture(root / "images" / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.png", "height": 6, "width": 8})
        polygon = [np.ravel(get_corners(CAT_BOX)).tolist()]
        runs = {"size": [6, 8], "counts": [14, 4, 2, 4, 2, 4, 2, 4, 12]}
        for category_id, segmentation in ((3, polygon), (5, runs)):
            entry = {"id": len(annotations), "image_id": number, "category_id": category_id, "iscrowd": 0}
            annotations.append(entry | {"segmentation": segmentation})
    categories = [{"id": 3, "name": "cat", "supercategory": ""}, {"id": 5, "name": "dog", "supercategory": ""}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_json(root / "annotations" / "instances_default.json", content)
    return root


def write_yolo(root: Path) -> Path:
    for name in NAMES:
        write_picture(root / "images" / f"{name}.png")
        lines = []
        for number, box in enumerate((CAT_BOX, DOG_BOX)):
            values = [f"{x / 8} {y / 6}" for x, y in get_corners(box)]
            lines.append(f"{number} {' '.join(values)}")
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text("names:\n  0: cat\n  1: dog\n")
    return root


def write_instance_maps(root: Path, dtype: str = "uint16", suffix: str = ".tif") -> Path:
    for name in NAMES:
        write_picture(root / "images" / f"{name}.png")
        (root / "masks").mkdir(exist_ok=True)
        scale = {"uint8": 100, "uint16": 30000, "int32": 1000000}[dtype]
        Image.fromarray((make_classes() * scale).astype(dtype)).save(root / "masks" / f"{name}{suffix}")
    return root


def write_semantic(root: Path, *, instances: bool = True) -> Path:
    for name in NAMES:
        write_picture(root / "images" / f"{name}.png")
        for folder in ("semantic", "instances") if instances else ("semantic",):
            (root / folder).mkdir(exist_ok=True)
            values = make_classes() * (1 if folder == "semantic" else 9)
            Image.fromarray(values.astype(np.uint8)).save(root / folder / f"{name}.png")
    (root / "classes.txt").write_text("background\ncat\ndog\n")
    return root


WRITERS = {
    "labelme": write_labelme,
    "cvat-masks": write_cvat_masks,
    "coco": write_coco,
    "yolo": write_yolo,
    "instance-maps": write_instance_maps,
    "semantic": write_semantic,
}


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def edit_json(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
