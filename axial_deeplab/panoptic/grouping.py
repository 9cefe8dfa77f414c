"""Find the centers of things in a heatmap, and the nearest one for each pixel's vote.

Source: Panoptic-DeepLab (arXiv 1911.10194), section 3; deeplab2, model/post_processor/panoptic_deeplab.
"""

import warnings
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

DISTANCES_ON_CPU = 2**20
"""int: Distances between votes and centers held in memory at once: 4 MiB, which fits the caches."""

DISTANCES_ON_GPU = 2**24
"""int: The same on other devices, which prefer few large steps: 64 MiB."""

FEW_CENTERS = 8
"""int: Candidates below which splitting a group of votes further costs more than comparing with all of them."""


class Centers(NamedTuple):
    """The centers of one image in raster order."""

    position: Tensor  # int64 [center, 2], (y, x)
    score: Tensor  # float32 [center], value of the heatmap


def suppress_non_maxima(center_heatmap: Tensor, *, threshold: float, kernel: int) -> Tensor:
    """Set to 0 all values that are not above `threshold` or not the largest of the window around them.

    Equal neighbors all stay: a plateau gives several centers. The window of an even kernel reaches one pixel further to
    the bottom and right.

    Args:
        center_heatmap: [height, width].
        threshold: At least 0.
        kernel: Side of the window in pixels.
    """
    heatmap = torch.where(center_heatmap > threshold, center_heatmap, 0)[None, None]
    before, after = (kernel - 1) // 2, kernel // 2
    padded = F.pad(heatmap, (before, after, before, after))
    # A maximum over rows, then over columns: the same as over the window, at 2 k instead of k * k reads.
    largest = F.max_pool2d(F.max_pool2d(padded, (1, kernel), stride=1), (kernel, 1), stride=1)
    return torch.where(heatmap == largest, heatmap, 0)[0, 0]


def find_centers(
    center_heatmap: Tensor, *, threshold: float = 0.1, kernel: int = 7, max_centers: int | None = None
) -> Centers:
    """Return the local maxima of a heatmap.

    Args:
        center_heatmap: [height, width], about 0..1.
        threshold: A center is above it; at least 0.
        kernel: Side in pixels of the window in which a center is the maximum. See `suppress_non_maxima`.
        max_centers: Keep that many with the highest scores, of equal ones the first in raster order, and warn about the
            rest. None keeps all.
    """
    heatmap = suppress_non_maxima(center_heatmap, threshold=threshold, kernel=kernel)
    position = heatmap.nonzero()
    score = heatmap[position[:, 0], position[:, 1]]
    if max_centers is not None and len(score) > max_centers:
        warnings.warn(f"{len(score)} centers found, max_centers keeps the best {max_centers}", stacklevel=2)
        kept = score.argsort(descending=True, stable=True)[:max_centers].sort().values
        position, score = position[kept], score[kept]
    return Centers(position, score)


def group_pixels(offset: Tensor, centers: Tensor, mask: Tensor, *, distances_at_once: int | None = None) -> Tensor:
    """Assign each pixel of `mask` to the center that is nearest to its vote, the pixel plus its offset.

    Distances are exact in float32; of equally near centers the first wins. Votes are split into groups, at the middle of
    the box that they span, and centers that cannot be nearest to any vote of the box are dropped, until a group and its
    remaining centers fit into `distances_at_once`. The result does not depend on that number.

    Args:
        offset: Float [2, height, width], (y, x), in pixels, finite.
        centers: Integer [center, 2], (y, x).
        mask: Bool [height, width].
        distances_at_once: Bound on the memory; None chooses by device.

    Returns:
        Int32 [height, width]: 1 + the index of the center on the mask, 0 elsewhere and if there is no center.
    """
    height, width = mask.shape
    instance = torch.zeros(height * width, dtype=torch.int32, device=mask.device)
    if len(centers) == 0:
        return instance.view(height, width)
    if distances_at_once is None:
        distances_at_once = DISTANCES_ON_CPU if mask.device.type == "cpu" else DISTANCES_ON_GPU
    pixel = mask.flatten().nonzero().squeeze(1)
    grid = torch.stack((pixel // width, pixel % width))
    vote = grid + offset.flatten(1)[:, pixel].float()  # [2, pixel]
    groups = [(pixel, vote, torch.arange(len(centers), device=mask.device))]
    while groups:
        pixel, vote, candidate = groups.pop()
        if pixel.numel() * candidate.numel() > distances_at_once:
            candidate = candidate[_can_be_nearest(vote, centers[candidate])]
            parts = _split_votes(vote) if candidate.numel() > FEW_CENTERS else []
            if pixel.numel() * candidate.numel() > distances_at_once and parts:
                groups += [(pixel[part], vote[:, part], candidate) for part in parts]
                continue
        nearest = _find_nearest(vote, centers[candidate], distances_at_once)
        instance[pixel] = (candidate[nearest] + 1).to(torch.int32)
    return instance.view(height, width)


def _can_be_nearest(vote: Tensor, centers: Tensor) -> Tensor:
    """Return which centers may be nearest to some of the votes [2, vote]: bool [center], never false by mistake.

    A center is out if all of the votes' box is farther from it than the box's farthest corner is from another center.
    """
    low, high = vote.aminmax(dim=1)
    below, above = low - centers, centers - high  # [center, 2], positive outside the box
    nearest = torch.maximum(below, above).clamp(min=0).square().sum(1)
    farthest = torch.minimum(below, above).square().sum(1)
    return nearest <= farthest.min() * 1.0001  # the slack covers rounding


def _split_votes(vote: Tensor) -> list[Tensor]:
    """Return two lists of indices that halve the longer side of the votes' box, or nothing if it cannot be halved."""
    low, high = vote.aminmax(dim=1)
    axis = int((high - low).argmax())
    lower = vote[axis] < low[axis] / 2 + high[axis] / 2
    return [lower.nonzero().squeeze(1), (~lower).nonzero().squeeze(1)] if lower.any() else []


def _find_nearest(vote: Tensor, centers: Tensor, distances_at_once: int) -> Tensor:
    """Return the index of the center that is nearest to each vote [2, vote], the first of equals; int64 [vote]."""
    y, x = centers.to(vote.dtype).T[:, :, None]  # [center, 1]
    chunks = vote.split(max(1, distances_at_once // len(centers)), dim=1)
    return torch.cat([((part[0] - y).square() + (part[1] - x).square()).min(0).indices for part in chunks])
