"""The best score that settings allow on given labels: labels -> targets -> perfect heads -> segments, scored as PQ."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from axial_deeplab.data.check.run import map_chunks
from axial_deeplab.data.check.split import CheckedSplit
from axial_deeplab.metrics.panoptic_quality import PanopticQuality
from axial_deeplab.panoptic.labels import split_panoptic_map
from axial_deeplab.panoptic.postprocess import PostprocessConfig, postprocess
from axial_deeplab.panoptic.targets import encode_targets
from axial_deeplab.records import (
    IGNORE_LABEL,
    Category,
    PanopticOutput,
    PanopticPrediction,
    PanopticRecord,
    PanopticTargets,
)
from axial_deeplab.training.config import TargetConfig

HEAD_STRIDE = 4
"""int: Pixels from one position of the heads to the next, in all our networks; see `models.decoder`."""

PADDING = 16
"""int: Sides are padded to k * PADDING + 1, as for a network."""


class Geometry(NamedTuple):
    """The settings in pixels on which the ceiling depends."""

    targets: TargetConfig = TargetConfig()
    postprocess: PostprocessConfig = PostprocessConfig()


class Ceiling(NamedTuple):
    """PQ in 0..1 that perfect heads reach: over all classes, over things, over stuff."""

    all: float
    things: float
    stuff: float


def measure_ceilings(
    split: CheckedSplit, geometries: Sequence[Geometry], *, sample: int, workers: int = 0
) -> list[dict[int, Ceiling]]:
    """Return for each geometry the ceiling by the stride of the heads, 1 and `HEAD_STRIDE`.

    At stride 1 only what the encoding loses is lost: objects with one center, and stuff below the limit. At the stride of the
    heads, peaks have different heights and objects few positions: sigma, window and the size of the objects count.

    Args:
        split: The labels.
        geometries: What to compare; all on the same images.
        sample: Number of images, evenly spread over the split.
        workers: Processes besides this one.
    """
    step = max(1, len(split) / max(1, sample))
    positions = sorted({int(number * step) for number in range(min(sample, len(split)))})
    strides = (1, HEAD_STRIDE)
    totals = [{stride: PanopticQuality(split.index.categories) for stride in strides} for _ in geometries]
    for part in map_chunks(split, _ScoreChunk(geometries, strides), positions, workers):
        for total, counts in zip(totals, part, strict=True):
            for stride in strides:
                total[stride].merge(counts[stride])
    return [{stride: _read_ceiling(quality) for stride, quality in total.items()} for total in totals]


def send_through(
    record: PanopticRecord, categories: Sequence[Category], geometry: Geometry, stride: int
) -> PanopticPrediction:
    """Return what post-processing makes of heads that say what the labels ask for, at every `stride`-th pixel.

    Void and crowd are predicted as void. The heads are brought to the size of the image as those of a network are.
    """
    height, width = record.panoptic_map.shape
    below, beside = (-(side - 1) % PADDING for side in (height, width))
    semantic, instance, crowd = (
        F.pad(part, (0, beside, 0, below), value=fill)[None]
        for part, fill in zip(
            split_panoptic_map(record.panoptic_map, record.segments), (IGNORE_LABEL, 0, 0), strict=True
        )
    )
    targets = encode_targets(semantic, instance, crowd, sigma=geometry.targets.sigma)
    classes = semantic.unique()  # few of many: logits of the others are not needed
    classes = classes[classes != IGNORE_LABEL].long()
    output = _make_heads(targets, instance, classes, stride).resize(semantic.shape[1], semantic.shape[2])
    output = PanopticOutput(*(head[..., :height, :width] for head in output))
    is_thing = [*(categories[number].is_thing for number in classes.tolist()), False]
    (prediction,) = postprocess(output, is_thing, geometry.postprocess, void_class=len(classes))
    segments = [segment._replace(category_id=int(classes[segment.category_id])) for segment in prediction.segments]
    return PanopticPrediction(prediction.panoptic_map, segments)


def _make_heads(targets: PanopticTargets, instance: Tensor, classes: Tensor, stride: int) -> PanopticOutput:
    """Return the best heads that a network can have at this stride.

    Logits are the share of each class around a position, so that resizing finds borders between positions; the last class is
    void. Offsets go on beyond the borders of their objects, as a network's do.
    """
    number = torch.searchsorted(classes, targets.semantic)  # IGNORE_LABEL, larger than all, comes last
    share = F.one_hot(number, len(classes) + 1).permute(0, 3, 1, 2).float()
    reach = stride // 2
    share = F.avg_pool2d(share, 2 * reach + 1, stride, padding=reach, count_include_pad=False)
    heatmap = targets.center_heatmap[:, None, ::stride, ::stride]
    # A center between positions makes equal neighbors, which would all be maxima; no network makes them equal.
    rows, columns = (torch.linspace(0, 1, side) for side in heatmap.shape[2:])
    tilt = 1 - 0.01 * (rows[:, None] + 2 * columns) / 3
    offset = _extend_offsets(targets.offset[0], instance[0], stride)[None, :, ::stride, ::stride] / stride
    return PanopticOutput(20.0 * share, heatmap * tilt if stride > 1 else heatmap, offset)


def _extend_offsets(offset: Tensor, instance: Tensor, reach: int) -> Tensor:
    """Let pixels up to `reach` away from an object point to its center too; [2, height, width]."""
    pixel = torch.stack(torch.meshgrid(*(torch.arange(side) for side in instance.shape), indexing="ij"))
    owned = instance > 0
    center = offset.new_zeros(2, int(instance.max()) + 1)
    center[:, instance[owned].long()] = (pixel + offset)[:, owned]
    grown = instance.float()[None]
    for _ in range(reach):
        grown = torch.where(grown > 0, grown, F.max_pool2d(grown, 3, stride=1, padding=1))
    owner = grown[0].long()
    return torch.where(owner > 0, center[:, owner] - pixel, 0)


class _ScoreChunk:
    """Score some images under all geometries: a function that travels to other processes with its arguments."""

    def __init__(self, geometries: Sequence[Geometry], strides: Sequence[int]) -> None:
        self.geometries, self.strides = geometries, strides

    def __call__(self, split: CheckedSplit, positions: Sequence[int]) -> list[dict[int, PanopticQuality]]:
        categories = split.index.categories
        totals = [{stride: PanopticQuality(categories) for stride in self.strides} for _ in self.geometries]
        records = (split.read(position) for position in positions)
        for record in (record for record in records if record is not None and record.segments):
            for geometry, total in zip(self.geometries, totals, strict=True):
                for stride in self.strides:
                    prediction = send_through(record, categories, geometry, stride)
                    truth = record.panoptic_map, record.segments
                    total[stride].update(*truth, prediction.panoptic_map, prediction.segments)
        return totals


def _read_ceiling(quality: PanopticQuality) -> Ceiling:
    report = quality.compute()
    return Ceiling(report.all.pq, report.things.pq, report.stuff.pq)
