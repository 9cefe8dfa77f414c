"""Batch norm of a channels-last map in training, with the ReLU or the sum of halves that follows, in two passes over it."""

import importlib.util
from functools import lru_cache

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Rows of a tile, and programs among which the rows are divided, by what was fastest on an H200 for 64 to 1024 channels.
ROWS, SHARES_WANTED = 32, 1056
BACKWARD_ROWS, BACKWARD_SHARES_WANTED = 64, 512


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
    relu: bool = False,
    add_halves: bool = False,
) -> Tensor:
    """Normalise a map by its own statistics, and move the running statistics.

    Args:
        x: [row, channel], contiguous.
        weight: float32 [channel].
        bias: float32 [channel].
        running_mean: float32 [channel], changed in place.
        running_var: float32 [channel], changed in place.
        eps: Added to the variance.
        momentum: Share of this batch in the running statistics.
        correction: 1 for the unbiased variance in the running statistics, 0 for the biased one.
        relu: Apply a ReLU.
        add_halves: Return the sum of the first and the second half of the channels; not with a ReLU.

    Returns:
        [row, channel], or half as many channels, in the dtype of `x`.
    """
    with torch.no_grad():
        mean, inverse = batch_statistics(x.detach(), running_mean, running_var, eps, momentum, correction)
    return normalize_batch(x, weight, bias, mean, inverse, relu, add_halves)


@torch.library.custom_op("axial_deeplab::batch_statistics", mutates_args=("running_mean", "running_var"))
def batch_statistics(
    x: Tensor, running_mean: Tensor, running_var: Tensor, eps: float, momentum: float, correction: int
) -> tuple[Tensor, Tensor]:
    """Return mean and 1 / sqrt(variance + eps) of every channel of [row, channel]; moves the running statistics."""
    from axial_deeplab.ops import triton_norm

    rows, channels = x.shape
    mean, inverse = (x.new_empty(channels, dtype=torch.float32) for _ in range(2))
    block, num_shares, per_share = _divide(rows, channels, ROWS, SHARES_WANTED)
    shares = x.new_empty(2, num_shares, channels, dtype=torch.float32)
    columns = -(-channels // block)
    triton_norm.sum_rows[num_shares, columns](x, shares, rows, channels, per_share, C=block, R=ROWS)
    statistics = (mean, inverse, running_mean, running_var)
    numbers = (rows, channels, num_shares, eps, momentum, correction)
    triton_norm.finish_statistics[(-(-channels // 8),)](x, shares, *statistics, *numbers, C=8, S=256)
    return mean, inverse


@batch_statistics.register_fake
def _(
    x: Tensor, running_mean: Tensor, running_var: Tensor, eps: float, momentum: float, correction: int
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[1], dtype=torch.float32), x.new_empty(x.shape[1], dtype=torch.float32)


@torch.library.custom_op("axial_deeplab::normalize_batch", mutates_args=())
def normalize_batch(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor, relu: bool, add_halves: bool
) -> Tensor:
    """Normalise by statistics that are functions of `x`: its gradient goes through them, they have none of their own."""
    from axial_deeplab.ops import triton_norm

    rows, channels = x.shape
    out = x.new_empty(rows, channels // 2 if add_halves else channels)
    block = _choose_block(out.shape[1])
    grid = (-(-rows // ROWS), -(-out.shape[1] // block))
    triton_norm.normalize[grid](
        x, mean, inverse, weight, bias, out, rows, channels, RELU=relu, HALVES=add_halves, C=block, R=ROWS
    )
    return out


@normalize_batch.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor, relu: bool, add_halves: bool) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] // 2 if add_halves else x.shape[1])


@torch.library.custom_op("axial_deeplab::normalize_batch_backward", mutates_args=())
def normalize_batch_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor, relu: bool, add_halves: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradient of `x`, and those of bias and weight, float32 [2, channel]."""
    from axial_deeplab.ops import triton_norm

    rows, channels = x.shape
    grad = grad.contiguous()
    block, num_shares, per_share = _divide(rows, channels, BACKWARD_ROWS, BACKWARD_SHARES_WANTED)
    columns = -(-channels // block)
    shares = x.new_empty(2, num_shares, channels, dtype=torch.float32)
    grads = x.new_empty(2, channels, dtype=torch.float32)
    grad_x = torch.empty_like(x)
    given = (x, grad, mean, inverse, weight, bias)
    options = {"RELU": relu, "HALVES": add_halves, "C": block, "R": BACKWARD_ROWS}
    triton_norm.sum_gradients[num_shares, columns](*given, shares, rows, channels, per_share, **options)
    triton_norm.finish_gradients[-(-channels // 8), 2](shares, grads, channels, num_shares, C=8, S=256)
    triton_norm.normalize_backward[-(-rows // BACKWARD_ROWS), columns](*given, grads, grad_x, rows, channels, **options)
    return grad_x, grads


@normalize_batch_backward.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor, relu: bool, add_halves: bool
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(2, x.shape[1], dtype=torch.float32)


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.relu, ctx.add_halves = inputs  # type: ignore[attr-defined]
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple:
    x, weight, bias, mean, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
    options = (ctx.relu, ctx.add_halves)  # type: ignore[attr-defined]
    grad_x, grads = normalize_batch_backward(grad, x, weight, bias, mean, inverse, *options)
    return grad_x, grads[1].to(weight.dtype), grads[0].to(bias.dtype), None, None, None, None


normalize_batch.register_autograd(_differentiate, setup_context=_save)


def _choose_block(channels: int) -> int:
    """Return the channels of a tile, a power of two."""
    return min(64, 1 << (channels - 1).bit_length())


def _divide(rows: int, channels: int, tile_rows: int, programs: int) -> tuple[int, int, int]:
    """Return the channels of a tile, into how many shares the rows are divided, and the rows of a share."""
    block = _choose_block(channels)
    wanted = max(1, programs // -(-channels // block))
    per_share = -(-max(tile_rows, -(-rows // wanted)) // tile_rows) * tile_rows
    return block, -(-rows // per_share), per_share
