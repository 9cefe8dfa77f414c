"""Batch norm of a channels-last map in training, with the sums and the ReLU that follow, in two passes over it."""

import importlib.util
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from axial_deeplab.ops.normalize_batch import ROWS, SHARES_WANTED, divide_rows, normalize_batch
from axial_deeplab.ops.processes import gather

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class NormState(NamedTuple):
    """A batch norm of [row, channel]: parameters and running statistics, float32 [channel]; see `batch_norm`."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    eps: float
    momentum: float
    correction: int
    shared: bool = False


def can_fuse(x: Tensor) -> bool:
    """Return whether the kernels can normalise a map: on a GPU, [row, channel] or channels-last, and worth a launch."""
    if x.device.type != "cuda" or x.dtype not in DTYPES or x.numel() == 0 or not _has_triton():
        return False
    if x.ndim == 4:
        return x.is_contiguous(memory_format=torch.channels_last)
    return x.ndim == 2 and x.is_contiguous()


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    return torch.version.hip is None and importlib.util.find_spec("triton") is not None


def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    *,
    eps: float,
    momentum: float,
    correction: int,
    shared: bool = False,
    residual: Tensor | None = None,
    relu: bool = False,
    add_halves: bool = False,
) -> Tensor:
    """Normalise a map by its own statistics, or those of the maps of all processes, and move the running statistics.

    Args:
        x: [row, channel], contiguous.
        weight: float32 [channel].
        bias: float32 [channel].
        running_mean: float32 [channel], changed in place.
        running_var: float32 [channel], changed in place.
        eps: Added to the variance.
        momentum: Share of this batch in the running statistics.
        correction: 1 for the unbiased variance in the running statistics, 0 for the biased one.
        shared: Whether the statistics are those of all processes of the default group; each then has at least one row.
        residual: Added to the result, of its shape.
        relu: Apply a ReLU at the end.
        add_halves: Add the second half of the channels to the first.

    Returns:
        [row, channel], or half as many channels, in the dtype of `x`.
    """
    with torch.no_grad():
        given = (x.detach(), weight.detach(), bias.detach(), running_mean, running_var)
        mean, inverse, _, ratio = batch_statistics(*given, eps, momentum, correction, shared)
    return normalize_batch(x, weight, bias, mean, inverse, ratio, residual, relu, add_halves)


@torch.library.custom_op("axial_deeplab::batch_statistics", mutates_args=("running_mean", "running_var"))
def batch_statistics(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
    momentum: float,
    correction: int,
    shared: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what a norm of [row, channel] makes of each channel, and move the running statistics.

    Args:
        x: [row, channel].
        weight: As in `batch_norm`.
        bias: The same.
        running_mean: The same.
        running_var: The same.
        eps: The same.
        momentum: The same.
        correction: The same.
        shared: The same.

    Returns:
        Mean and 1 / sqrt(variance + eps), float32 [channel]; scale and shift of the whole norm, [2, channel]; and the share of
        this process in all rows, [1], or [0] if the statistics are its own.
    """
    from axial_deeplab.ops import triton_norm_statistics as kernels

    rows, channels = x.shape
    mean, inverse = (x.new_empty(channels, dtype=torch.float32) for _ in range(2))
    affine = x.new_empty(2, channels, dtype=torch.float32)
    ratio = x.new_empty(int(shared), dtype=torch.float32)
    block, num_shares, per_share = divide_rows(rows, channels, ROWS, SHARES_WANTED)
    shares = x.new_empty(2, num_shares, channels, dtype=torch.float32)
    columns = -(-channels // block)
    kernels.sum_rows[num_shares, columns](x, shares, rows, channels, per_share, C=block, R=ROWS)
    statistics = (weight, bias, mean, inverse, affine, running_mean, running_var)
    numbers = (eps, momentum, correction)
    grid = (-(-channels // 8),)
    if shared:
        described = x.new_empty(2 * channels + 1, dtype=torch.float32)
        kernels.describe_rows[grid](x, shares, described, rows, channels, num_shares, C=8, S=256)
        sizes = (channels, dist.get_world_size(), dist.get_rank())
        kernels.combine_statistics[grid](gather(described), *statistics, ratio, *sizes, *numbers, C=8)
    else:
        sizes = (rows, channels, num_shares)
        kernels.finish_statistics[grid](x, shares, *statistics, *sizes, *numbers, C=8, S=256)
    return mean, inverse, affine, ratio


@batch_statistics.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
    momentum: float,
    correction: int,
    shared: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mean, inverse = (x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(2))
    affine = x.new_empty(2, x.shape[1], dtype=torch.float32)
    return mean, inverse, affine, x.new_empty(int(shared), dtype=torch.float32)


@torch.library.custom_op("axial_deeplab::add_residual", mutates_args=("x",))
def add_residual(x: Tensor, residual: Tensor, relu: bool) -> None:
    """Add a map to another of the same layout in place, then apply a ReLU; for inference."""
    from axial_deeplab.ops import triton_norm

    triton_norm.add_residual[(-(-x.numel() // 2048),)](x, residual, x.numel(), RELU=relu, B=2048)


@add_residual.register_fake
def _(x: Tensor, residual: Tensor, relu: bool) -> None:
    return None
