"""Turn the outputs of the three heads into segments.

The class of each pixel is the most probable one. Pixels of thing classes are grouped by center, and each group takes the
class of its majority; the other pixels of a class are one stuff segment. Every step is a few operations on whole maps: the cost
hardly depends on the number of segments.

Source: Panoptic-DeepLab (arXiv 1911.10194), section 3; deeplab2, model/post_processor/panoptic_deeplab, of whose two ways to
merge this is the one in plain TensorFlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from axial_deeplab.panoptic.grouping import find_centers, group_pixels
from axial_deeplab.records import PanopticOutput, PanopticPrediction, Segment

SCORE_UNIT = 2**30
"""int: Probabilities are summed as integers of this unit: exactly, and alike on every device."""


@dataclass(frozen=True)
class PostprocessConfig:
    """How to find the segments.

    The defaults erase nothing but centers within 3 pixels of a higher one; `axial-deeplab dataset check` fits the settings
    that are in pixels to a data set.

    Attributes:
        center_threshold: A center is above this value of the heatmap, at least 0.
        nms_kernel: Side in pixels of the window in which a center is the maximum. Published: 13 for Cityscapes, 41 for COCO.
        stuff_area_limit: Stuff of fewer pixels in the whole image becomes void. Published: 2048 and 4096.
        max_centers: Keep that many of the best centers, with a warning if there are more; None keeps all.
    """

    center_threshold: float = 0.1
    nms_kernel: int = 7
    stuff_area_limit: int = 0
    max_centers: int | None = None

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if self.center_threshold < 0 or self.nms_kernel < 1 or self.stuff_area_limit < 0:
            raise ValueError(f"center_threshold and stuff_area_limit start at 0, nms_kernel at 1: {self}")
        if self.max_centers is not None and self.max_centers < 1:
            raise ValueError(f"max_centers starts at 1, None keeps all centers: {self}")


DEFAULT_CONFIG = PostprocessConfig()
"""PostprocessConfig: For small images; recipes set their own."""


class MergedMaps(NamedTuple):
    """The segments of one image: n of things with the ids 1..n, then those of stuff."""

    panoptic_map: Tensor  # int32 [height, width], 0 where void
    category: Tensor  # int64 [segment], contiguous
    center: Tensor  # int64 [thing], index of the center of each thing


@torch.no_grad()
def postprocess(
    output: PanopticOutput,
    is_thing: Sequence[bool],
    config: PostprocessConfig = DEFAULT_CONFIG,
    *,
    void_class: int | None = None,
) -> list[PanopticPrediction]:
    """Return the segments of each image of a batch, on the device of the output.

    Args:
        output: The heads, at the size in which to predict; `semantic_logits` before the softmax, any floating type.
        is_thing: For each class, whether its instances are told apart.
        config: Thresholds.
        void_class: A class that stands for "none of the others" and becomes void.

    Raises:
        ValueError: `is_thing` does not fit the classes, `void_class` is none of them, or a head is not finite.
    """
    return [
        postprocess_probabilities(
            logits.float().softmax(0), heatmap[0], offset, is_thing=is_thing, config=config, void_class=void_class
        )
        for logits, heatmap, offset in zip(*output, strict=True)
    ]


@torch.no_grad()
def postprocess_probabilities(
    semantic_probs: Tensor,
    center_heatmap: Tensor,
    offset: Tensor,
    *,
    is_thing: Sequence[bool],
    config: PostprocessConfig = DEFAULT_CONFIG,
    void_class: int | None = None,
) -> PanopticPrediction:
    """Return the segments of one image from class probabilities: `postprocess` after the softmax.

    Averages over scales and mirror images enter here. The score of a thing is the mean probability of its class over its
    pixels times the heatmap at its center (at most 1 in all), that of stuff the mean probability of its class.

    Args:
        semantic_probs: [class, height, width], 0..1.
        center_heatmap: [height, width], about 0..1.
        offset: [2, height, width], (y, x), center - pixel, in pixels.
        is_thing: For each class, whether its instances are told apart.
        config: Thresholds.
        void_class: A class that stands for "none of the others" and becomes void.

    Raises:
        ValueError: As `postprocess`.
    """
    certainty, semantic = semantic_probs.float().max(dim=0)  # of equal probabilities the first class
    things = _list_things(is_thing, semantic_probs, void_class)
    _require_finite({"semantic_logits": certainty, "center_heatmap": center_heatmap, "offset": offset})
    centers = find_centers(
        center_heatmap.float(),
        threshold=config.center_threshold,
        kernel=config.nms_kernel,
        max_centers=config.max_centers,
    )
    instance = group_pixels(offset, centers.position, things[semantic])
    merged = merge_maps(semantic, instance, things, stuff_area_limit=config.stuff_area_limit, void_class=void_class)
    return PanopticPrediction(merged.panoptic_map, _describe_segments(merged, semantic_probs, centers.score))


def merge_maps(
    semantic: Tensor,
    instance: Tensor,
    is_thing: Tensor,
    *,
    stuff_area_limit: int = 0,
    void_class: int | None = None,
) -> MergedMaps:
    """Join a map of classes and a map of instances into one map of segments.

    Each instance takes the class that most of its pixels have, of equal counts the smaller one. Pixels of thing classes
    without an instance are void. Stuff is one segment a class, void below `stuff_area_limit` pixels. Things are numbered
    from 1 in the order of their first pixels in raster order, then stuff in the order of the classes.

    Args:
        semantic: int64 [height, width], 0 .. classes - 1.
        instance: int32 [height, width], from 1, 0 for none; not 0 on thing classes only.
        is_thing: Bool [class].
        stuff_area_limit: In pixels, inclusive: stuff of that area stays.
        void_class: A class that becomes void.
    """
    thing_map, thing_class, center = _number_things(semantic, instance, len(is_thing))
    area = torch.bincount(semantic.flatten(), minlength=len(is_thing))
    kept = (area >= max(stuff_area_limit, 1)) & ~is_thing
    if void_class is not None:
        kept[void_class] = False
    stuff_id = ((len(center) + kept.cumsum(0)) * kept).to(torch.int32)
    panoptic_map = torch.where(is_thing[semantic], thing_map, stuff_id[semantic])
    return MergedMaps(panoptic_map, torch.cat((thing_class, kept.nonzero().squeeze(1))), center)


def _number_things(semantic: Tensor, instance: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the map of things with their final ids, int32, and for each thing its class and the index of its center."""
    num_instances, num_pixels = int(instance.max()), instance.numel()
    pixel = instance.flatten().nonzero().squeeze(1)
    owner = instance.flatten()[pixel].long() - 1
    votes = torch.bincount(owner * num_classes + semantic.flatten()[pixel], minlength=num_instances * num_classes)
    majority = votes.view(num_instances, num_classes).argmax(1)
    first = pixel.new_full((num_instances,), num_pixels).scatter_reduce_(0, owner, pixel, "amin")
    center = first.argsort()[: int((first < num_pixels).sum())]  # instances without pixels drop out
    number = torch.zeros(num_instances, dtype=torch.int32, device=instance.device)
    number[center] = torch.arange(1, len(center) + 1, dtype=torch.int32, device=instance.device)
    thing_map = torch.zeros_like(instance)
    thing_map.view(-1)[pixel] = number[owner]
    return thing_map, majority[center], center


def _list_things(is_thing: Sequence[bool], semantic_probs: Tensor, void_class: int | None) -> Tensor:
    """Return which classes are things, bool [class], void being none."""
    num_classes = semantic_probs.shape[0]
    if len(is_thing) != num_classes:
        raise ValueError(f"is_thing names {len(is_thing)} classes, the semantic head has {num_classes}")
    things = torch.tensor(list(is_thing), dtype=torch.bool, device=semantic_probs.device)
    if void_class is not None:
        if not 0 <= void_class < num_classes:
            raise ValueError(f"void_class {void_class} is none of the {num_classes} classes")
        things[void_class] = False
    return things


def _require_finite(heads: dict[str, Tensor]) -> None:
    """Raise unless all values are finite: nothing found in NaN is worth showing."""
    for name, values in heads.items():
        if not bool(values.isfinite().all()):
            raise ValueError(
                f"{name} holds NaN or infinity: the model diverged, or float16 overflowed (use bfloat16 or float32)"
            )


def _describe_segments(merged: MergedMaps, semantic_probs: Tensor, center_score: Tensor) -> list[Segment]:
    """List the segments of a merged map with their areas and scores."""
    ids = merged.panoptic_map.flatten().long()
    num_segments, num_things = len(merged.category), len(merged.center)
    category = torch.cat((merged.category.new_zeros(1), merged.category))  # of void, any
    probability = semantic_probs.flatten(1).gather(0, category[ids][None])[0]
    total = ids.new_zeros(num_segments + 1).index_add_(0, ids, (probability.float() * SCORE_UNIT).long())
    area = torch.bincount(ids, minlength=num_segments + 1)
    factor = center_score[merged.center].tolist() + [1.0] * (num_segments - num_things)
    rows = zip(merged.category.tolist(), total[1:].tolist(), area[1:].tolist(), factor, strict=True)
    return [
        Segment(
            id=position + 1,
            category_id=segment_class,
            is_thing=position < num_things,
            score=min(1.0, segment_total / (segment_area * SCORE_UNIT) * segment_factor),
            area=segment_area,
        )
        for position, (segment_class, segment_total, segment_area, segment_factor) in enumerate(rows)
    ]
