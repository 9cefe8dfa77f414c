"""The official rule that makes panoptic files of Cityscapes from instance ids, written out label by label.

Source: mcordts/cityscapesScripts, preparation/createPanopticImgs.py and helpers/labels.py.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Label, name, train id, whether objects are told apart; labels that are ignored in the evaluation are left out.
LABELS = [
    (7, "road", 0, False),
    (8, "sidewalk", 1, False),
    (11, "building", 2, False),
    (12, "wall", 3, False),
    (13, "fence", 4, False),
    (17, "pole", 5, False),
    (19, "traffic light", 6, False),
    (20, "traffic sign", 7, False),
    (21, "vegetation", 8, False),
    (22, "terrain", 9, False),
    (23, "sky", 10, False),
    (24, "person", 11, True),
    (25, "rider", 12, True),
    (26, "car", 13, True),
    (27, "truck", 14, True),
    (28, "bus", 15, True),
    (31, "train", 16, True),
    (32, "motorcycle", 17, True),
    (33, "bicycle", 18, True),
]


def write_panoptic_files(root: Path, split: str, *, train_ids: bool = False) -> Path:
    """Write the JSON and the PNGs of a split from its instance ids, and return the JSON."""
    name = f"cityscapes_panoptic_{split}{'_trainId' if train_ids else ''}"
    folder = root / "gtFine" / name
    folder.mkdir()
    images, annotations = [], []
    for path in sorted((root / "gtFine" / split).glob("*/*_instanceIds.png")):
        image_id = path.name.replace("_gtFine_instanceIds.png", "")
        ids = np.array(Image.open(path)).astype(int)
        colors, segments = describe(ids, train_ids=train_ids)
        file_name = path.name.replace("_instanceIds.png", "_panoptic.png")
        Image.fromarray(colors).save(folder / file_name)
        # The official script keeps "_gtFine" in the name of the image, which no image has.
        image = path.name.replace("_instanceIds.png", "_leftImg8bit.png")
        images.append({"id": image_id, "width": ids.shape[1], "height": ids.shape[0], "file_name": image})
        annotations.append({"image_id": image_id, "file_name": file_name, "segments_info": segments})
    categories = [
        {"id": train_id if train_ids else label, "name": name, "isthing": int(objects), "color": [0, 0, 0]}
        for label, name, train_id, objects in LABELS
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    json_path = folder.with_suffix(".json")
    json_path.write_text(json.dumps(content))
    return json_path


def describe(ids: np.ndarray, *, train_ids: bool) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the colors, uint8 [height, width, 3], and the segments of a map of instance ids."""
    colors = np.zeros((*ids.shape, 3), np.uint8)
    segments = []
    for number in sorted(set(ids.flatten().tolist())):
        label = number if number < 1000 else number // 1000
        for known, _, train_id, objects in LABELS:
            if known != label:
                continue
            mask = ids == number
            colors[mask] = (number % 256, number // 256 % 256, number // 65536)
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            segments.append(
                {
                    "id": number,
                    "category_id": train_id if train_ids else label,
                    "area": int(mask.sum()),
                    "bbox": [int(value) for value in box],
                    "iscrowd": int(objects and number < 1000),
                }
            )
    return colors, segments
