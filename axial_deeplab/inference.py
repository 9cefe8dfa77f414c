"""Run a network at test time: once, at several scales, mirrored, or tile by tile, always with one output for the image.

Grouping into segments comes after all of this, once for the whole image, so an object that crosses tiles stays one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from axial_deeplab.errors import InputError
from axial_deeplab.records import PanopticOutput

RunNetwork = Callable[[Tensor], PanopticOutput]
"""From normalised images [batch, 3, height, width] to the heads at the same size."""


@dataclass(frozen=True)
class InferenceConfig:
    """What a network is asked at test time.

    Attributes:
        scales: Sizes of its input, in units of the image's; the answers are averaged. The paper's multi-scale rows use
            (0.5, 0.75, 1, 1.25, 1.5) for COCO and 0.5 to 2 in steps of 0.25 for Cityscapes and Mapillary, with `flip`.
        flip: Ask about the mirror image too, at every scale, and average.
        tile: Cut whatever is larger into square tiles of this many pixels, rounded up to k * multiple + 1; None never cuts.
        overlap: Pixels that neighboring tiles share at least, less than `tile`; None is a quarter of the tile.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    tile: int | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        """Refuse values without a meaning; JSON lists are taken for tuples."""
        object.__setattr__(self, "scales", tuple(self.scales))
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise InputError(f"scales must be positive numbers, at least one: {self.scales}")
        if self.tile is None and self.overlap is not None:
            raise InputError("overlap needs a tile: without tiles there is nothing to overlap")
        if self.tile is not None and (self.tile < 1 or not 0 <= (self.overlap or 0) < self.tile):
            raise InputError(f"tile must be at least 1 and overlap in 0 .. tile - 1: {self.tile} and {self.overlap}")


DEFAULT_CONFIG = InferenceConfig()
"""InferenceConfig: One pass over the whole image."""


def infer(
    run: RunNetwork, images: Tensor, config: InferenceConfig = DEFAULT_CONFIG, *, multiple: int = 16
) -> PanopticOutput:
    """Return what the network says about images, averaged over scales and mirror images.

    As in deeplab2, probabilities are averaged, not logits, and heatmaps and offsets as they are, after all have been brought to
    the size of `images`; x offsets negate in the mirror image; `images` is resized bilinearly, without antialiasing, to
    `scale_side` of its sides.

    Args:
        run: The network.
        images: Normalised, [batch, 3, height, width].
        config: Scales, mirror image, tiles.
        multiple: Tiles start at multiples of this; the output stride must divide it.

    Returns:
        Heads at the size of `images`, on the device of the network, with tiles on that of `images`. If several were averaged,
        `semantic_logits` is the logarithm of the mean probabilities, whose softmax is that mean.

    Raises:
        InputError: If tiles of that size cannot overlap so much.

    Source: deeplab2, model/deeplab.py.
    """
    first, *others = product(config.scales, (False, True) if config.flip else (False,))
    output = _run_view(run, images, config, *first, multiple=multiple)
    if not others:
        return output
    probs, heatmap, offset = output.semantic_logits.softmax(1), output.center_heatmap, output.offset
    for view in others:
        output = _run_view(run, images, config, *view, multiple=multiple)
        probs += output.semantic_logits.softmax(1)
        heatmap, offset = heatmap + output.center_heatmap, offset + output.offset
    count = 1 + len(others)
    # A probability may be 0; its logarithm stays finite, because whoever resizes multiplies by 0.
    logits = probs.div_(count).clamp_(min=torch.finfo(probs.dtype).tiny).log_()
    return PanopticOutput(logits, heatmap / count, offset / count)


def scale_side(side: int, scale: float) -> int:
    """Return the side of a scaled image whose corner pixels stay on the corners, rounded down as in deeplab2."""
    return int((side - 1) * scale + 1)


def mirror_output(output: PanopticOutput) -> PanopticOutput:
    """Turn what was said about a mirror image into what it means for the image: left is right, and x offsets negate."""
    logits, heatmap, offset = (head.flip(3) for head in output)
    return PanopticOutput(logits, heatmap, torch.stack((offset[:, 0], -offset[:, 1]), 1))


def _run_view(
    run: RunNetwork, images: Tensor, config: InferenceConfig, scale: float, mirrored: bool, *, multiple: int
) -> PanopticOutput:
    """Return the heads for one scale and side, brought back to the size and orientation of the images."""
    height, width = images.shape[2:]
    size = (scale_side(height, scale), scale_side(width, scale))
    if size != (height, width):
        images = F.interpolate(images, size, mode="bilinear", align_corners=True)
    if mirrored:
        images = images.flip(3)
    if config.tile is None:
        output = run(images)
    else:
        output = run_tiles(run, images, config.tile, config.overlap, multiple=multiple)
    return (mirror_output(output) if mirrored else output).resize(height, width)


def run_tiles(
    run: RunNetwork, images: Tensor, tile: int, overlap: int | None = None, *, multiple: int = 16
) -> PanopticOutput:
    """Return the heads for images of which the network sees one tile at a time.

    Where tiles overlap, heads are averaged with weights that are 0 in the quarter of the overlap next to a cut, where the
    network lacks context most, and rise linearly over the half in the middle. A network that sees no farther than a
    quarter of the overlap answers as for the whole image, if `multiple` divides the sides of the images less one.

    Args:
        run: The network. Only a tile and its output lie on its device at a time.
        images: Normalised, [batch, 3, height, width].
        tile: Side of a tile in pixels, rounded up to k * multiple + 1.
        overlap: Pixels that neighbors share at least; None is a quarter of the tile.
        multiple: Tiles start at multiples of this; the output stride must divide it.

    Returns:
        Float32 heads at the size of `images`, on their device.

    Raises:
        InputError: If tiles of that size cannot overlap so much.
    """
    overlap = tile // 4 if overlap is None else overlap
    side = max(1, math.ceil((tile - 1) / multiple)) * multiple + 1
    height, width = images.shape[2:]
    rows, columns = (place_tiles(length, side, overlap, multiple=multiple) for length in (height, width))
    weights_y, weights_x = (weigh_tiles(spans, overlap).to(images.device) for spans in (rows, columns))
    total: PanopticOutput | None = None
    for (y, row), (x, column) in product(enumerate(rows), enumerate(columns)):
        output = run(images[..., row, column])
        if total is None:
            total = PanopticOutput(*(images.new_zeros(*head.shape[:2], height, width) for head in output))
        weight = weights_y[y, row, None] * weights_x[x, column]
        for blended, head in zip(total, output, strict=True):
            blended[..., row, column].addcmul_(head.to(blended), weight)
    assert total is not None
    return total


def place_tiles(length: int, side: int, overlap: int, *, multiple: int = 16) -> list[slice]:
    """Return the spans of tiles along an axis: as few as cover it, evenly spaced, each but the last `side` long.

    They start at multiples of `multiple`, so that strided feature maps of a tile lie on those of the whole image.

    Raises:
        InputError: If tiles that share `overlap` positions do not advance by `multiple`.
    """
    advance = (side - overlap) // multiple
    if advance < 1:
        raise InputError(f"tiles of {side} pixels that overlap by {overlap} do not advance by {multiple}: overlap less")
    last = max(0, math.ceil((length - side) / multiple))
    gaps = math.ceil(last / advance)
    starts = [multiple * (number * last // max(gaps, 1)) for number in range(gaps + 1)]
    return [slice(start, min(start + side, length)) for start in starts]


def weigh_tiles(spans: Sequence[slice], overlap: int) -> Tensor:
    """Return the weight of every tile at every position of an axis, float32 [tile, position]; columns add up to 1.

    Args:
        spans: From `place_tiles`.
        overlap: Weights are 0 in the quarter of it next to a cut and rise over the half that follows. The ends of the
            axis are no cuts.
    """
    length = spans[-1].stop
    margin = overlap // 4
    position = torch.arange(length)
    rows = []
    for span in spans:
        inside = torch.full((length,), length + overlap)  # how far the nearest cut is
        if span.start > 0:
            inside = torch.minimum(inside, position - span.start + 1)
        if span.stop < length:
            inside = torch.minimum(inside, span.stop - position)
        rows.append((inside - margin).clamp(0, max(1, overlap - 2 * margin)))
        rows[-1][: span.start] = rows[-1][span.stop :] = 0
    weights = torch.stack(rows).float()
    return weights / weights.sum(0)
