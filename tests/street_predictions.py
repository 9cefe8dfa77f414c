"""Panoptic predictions of street scenes, and COCO's form of their truth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.cityscapes_scoring import split_instance_ids
from axial_deeplab.data.run_lengths import encode_segments
from axial_deeplab.records import PanopticPrediction
from tests.oracles.street_scenes import HEIGHT, THINGS, WIDTH, Scene

CATEGORIES = load_catalog("cityscapes")


def predict_scene(scene: Scene, seed: int) -> PanopticPrediction:
    """Shift the truth, take some things for others, give random scores, some of them equal."""
    random = np.random.RandomState(seed)
    said = split_instance_ids(np.roll(scene.instance_ids, random.randint(-4, 5, size=2), (0, 1)), CATEGORIES)
    things = [number for number, category in enumerate(CATEGORIES) if category.is_thing]
    segments = []
    for segment in said.segments:
        wrong = segment.is_thing and random.rand() < 0.1
        class_id = things[random.randint(len(things))] if wrong else segment.category_id
        score = random.randint(1, 17) / 16 if random.rand() < 0.3 else random.rand()
        segments.append(segment._replace(category_id=class_id, score=float(score), is_crowd=False))
    return PanopticPrediction(torch.from_numpy(said.panoptic_map), segments)


def list_coco_truth(scenes: Sequence[Scene]) -> dict[str, Any]:
    """Return a COCO instances file: run lengths, groups as crowd, and a polygon in each image."""
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes):
        truth = split_instance_ids(scene.instance_ids, CATEGORIES)
        things = [segment for segment in truth.segments if segment.is_thing]
        runs = encode_segments(truth.panoptic_map, [segment.id for segment in things])
        for segment in things:
            entry = {"area": segment.area, "iscrowd": int(segment.is_crowd), "bbox": [0, 0, 1, 1]}
            entry["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": runs[segment.id]}
            entry["category_id"] = CATEGORIES[segment.category_id].id
            annotations.append(entry | {"image_id": number})
        corners = np.random.RandomState(number).randint(0, 90, size=6).astype(float).tolist()
        triangle = {"area": 400.5, "iscrowd": 0, "bbox": [0, 0, 1, 1], "category_id": 26, "image_id": number}
        annotations.append(triangle | {"segmentation": [corners]})
    return {
        "images": [{"id": n, "height": HEIGHT, "width": WIDTH, "file_name": f"{n}.png"} for n in range(len(scenes))],
        "categories": [{"id": label, "name": str(label)} for label in THINGS],
        "annotations": [entry | {"id": n} for n, entry in enumerate(annotations, start=1)],
    }
