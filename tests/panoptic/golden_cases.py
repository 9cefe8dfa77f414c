"""The golden fixtures of panoptic arithmetic, in the form that our functions take."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.panoptic.targets import encode_targets
from axial_deeplab.records import IGNORE_LABEL, PanopticOutput, PanopticTargets
from tests.golden_rule import draw_tensor, load_case

LOSS_CASES = ("cityscapes_full", "cityscapes_topk20", "coco_topk20")
POST_CASES = ("cityscapes_a", "coco_nms7", "toy_even_kernel")


class LossCase(NamedTuple):
    """A golden fixture of targets and losses."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    targets: PanopticTargets  # ours, from the fixture's label map

    def draw_output(self) -> PanopticOutput:
        """Return the fixture's predictions, channels first, as leaves that take gradients."""
        drawn = {entry["name"]: draw_tensor(entry, self.meta["seed"]) for entry in self.meta["predictions"]}
        return PanopticOutput(
            semantic_logits=drawn["semantic_logits"].permute(0, 3, 1, 2).requires_grad_(),
            center_heatmap=drawn["center_heatmap"][:, None].requires_grad_(),
            offset=drawn["offset_map"].permute(0, 3, 1, 2).requires_grad_(),
        )


def load_loss_case(golden: Path, name: str) -> LossCase:
    """Return one case with our targets for its label map."""
    meta, arrays = load_case(golden, f"dl2_loss_{name}")
    semantic, instance, crowd = split_label(torch.from_numpy(arrays["target/panoptic_gt"]), meta)
    small = meta["small_instances"] or {"threshold": 0, "weight": 1.0}
    targets = encode_targets(
        semantic,
        instance,
        crowd,
        sigma=meta["sigma"],
        small_instance_area=small["threshold"],
        small_instance_weight=small["weight"],
    )
    return LossCase(meta, arrays, targets)


def split_label(label: Tensor, meta: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Return class, instance and crowd mask of a map of class * divisor + instance; a thing without instance is crowd."""
    category, number = label // meta["label_divisor"], label % meta["label_divisor"]
    thing = torch.isin(category, torch.tensor(meta["thing_ids"]))
    semantic = torch.where(category == meta["ignore_label"], IGNORE_LABEL, category)
    return semantic, torch.where(thing & (number > 0), label, 0), thing & (number == 0)


class PostCase:
    """A golden fixture of post-processing, in the form that our functions take."""

    def __init__(self, folder: Path, name: str) -> None:
        self.meta, self.arrays = load_case(folder, f"dl2_post_{name}")
        self.output = PanopticOutput(
            *(
                torch.from_numpy(self.arrays[f"in/{head}"]).permute(0, 3, 1, 2)
                for head in ("semantic_logits", "center_heatmap", "offset")
            )
        )
        num_classes, void_label = self.meta["num_classes"], self.meta["void_label"]
        self.is_thing = [category in self.meta["thing_ids"] for category in range(num_classes)]
        self.void_class = void_label if void_label < num_classes else None
        limit = self.meta["keep_k_centers"]
        self.config = PostprocessConfig(
            center_threshold=self.meta["center_threshold"],
            nms_kernel=self.meta["nms_kernel"],
            stuff_area_limit=self.meta["stuff_area_limit"],
            max_centers=limit if limit > 0 else None,
        )

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[f"out/{name}"]

    def name_segments(self, categories: list[int], is_thing: list[bool]) -> list[int]:
        """Return the labels, class * divisor + number in the class, of void and of segments in the order of their ids."""
        divisor, count = self.meta["label_divisor"], dict[int, int]()
        labels = [self.meta["void_label"] * divisor]
        for category, thing in zip(categories, is_thing, strict=True):
            count[category] = count.get(category, 0) + thing
            labels.append(category * divisor + count[category])
        return labels
