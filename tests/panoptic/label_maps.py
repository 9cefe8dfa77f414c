"""Random label maps, and heads that say exactly what the targets ask for."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from axial_deeplab.records import IGNORE_LABEL, PanopticOutput, PanopticTargets, Segment

IS_THING = (False, False, False, True, True, True, False)
"""tuple: Three classes of stuff, three of things, and one that stands for void."""

VOID_CLASS = 6


def make_label_map(seed: int, height: int = 97, width: int = 129) -> tuple[Tensor, list[Segment]]:
    """Return an id map of stuff bands under 4 to 20 boxes, ellipses and rings of things, with a void patch."""
    generator = np.random.default_rng(seed)
    y, x = np.ogrid[:height, :width]
    panoptic_map = np.broadcast_to(1 + y * 3 // height, (height, width)).astype(np.int32)
    classes = {1: 0, 2: 1, 3: 2}
    for number in range(4, 4 + int(generator.integers(4, 21))):
        top, left = generator.integers(0, height), generator.integers(0, width)
        reach_y, reach_x = generator.integers(3, 18, size=2)
        v, u = (y - top) / reach_y, (x - left) / reach_x
        box, ellipse = (abs(v) <= 1) & (abs(u) <= 1), v**2 + u**2 <= 1
        ring = ellipse & (v**2 + u**2 >= 0.5)
        panoptic_map[(box, ellipse, ring)[number % 3]] = 1000 * number
        classes[1000 * number] = int(generator.integers(3, 6))
    panoptic_map[:5, :9] = 0
    ids, areas = np.unique(panoptic_map, return_counts=True)
    segments = [
        Segment(int(i), classes[int(i)], IS_THING[classes[int(i)]], area=int(area))
        for i, area in zip(ids, areas, strict=True)
        if i
    ]
    return torch.from_numpy(panoptic_map), segments


def make_perfect_heads(targets: PanopticTargets, num_classes: int, *, void_class: int | None = None) -> PanopticOutput:
    """Return the targets as heads: one-hot logits times 20, ignored pixels voting for `void_class`."""
    semantic = targets.semantic
    if void_class is not None:
        semantic = torch.where(semantic == IGNORE_LABEL, void_class, semantic)
    logits = F.one_hot(semantic, num_classes).permute(0, 3, 1, 2) * 20.0
    return PanopticOutput(logits, targets.center_heatmap[:, None], targets.offset)
