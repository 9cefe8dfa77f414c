"""What the official evaluators said of random scenes (`tools/record_evaluators.py`), beside the scenes themselves."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.records import IGNORE_LABEL, Segment
from tests.oracles.street_scenes import Scene, digest, make_scenes

CATEGORIES = load_catalog("cityscapes")
POSITION = {category.id: number for number, category in enumerate(CATEGORIES)}
TRAIN_ID = np.full(256, IGNORE_LABEL, np.uint8)
TRAIN_ID[list(POSITION)] = list(POSITION.values())
SETS = ("few", "many")


def load_record(name: str) -> tuple[list[Scene], dict[str, Any]]:
    """Return the scenes of a set and the figures recorded for it."""
    record = json.loads(Path(__file__).with_name("evaluators.json").read_text())["sets"][name]
    scenes = make_scenes(record["count"], record["first_seed"])
    assert digest(scenes) == record["digest"], "the scenes are not those that the evaluators saw"
    return scenes, record


def list_instances(scene: Scene) -> list[tuple[Segment, torch.Tensor]]:
    """Return the predicted instances in the form of `to_instances`."""
    return [
        (Segment(number, POSITION[label], True, score), torch.from_numpy(mask))
        for number, (label, score, mask) in enumerate(scene.instances, start=1)
    ]


def fill_nan(value: float | None) -> float:
    """Return NaN for None."""
    return math.nan if value is None else value
