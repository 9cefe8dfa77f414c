"""The second half of a batch norm in training: a map, its statistics and what follows them, forward and backward.

Statistics are functions of the map. The gradient goes through them here, so that they need none of their own.
"""

import torch
from torch import Tensor

from axial_deeplab.ops.processes import share_gradients

# Rows of a tile, and programs among which the rows are divided, by what was fastest on H100 and H200 for 64 to 1024 channels.
ROWS, SHARES_WANTED = 32, 1056


@torch.library.custom_op("axial_deeplab::normalize_batch", mutates_args=())
def normalize_batch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    inverse: Tensor,
    ratio: Tensor,
    residual: Tensor | None,
    relu: bool,
    add_halves: bool,
) -> Tensor:
    """Normalise by statistics that are functions of `x`: its gradient goes through them, they have none of their own.

    `ratio` is the last of what `batch_statistics` returns.
    """
    from axial_deeplab.ops import triton_norm

    rows, channels = x.shape
    out = x.new_empty(rows, channels // 2 if add_halves else channels)
    block = choose_block(out.shape[1])
    grid = (-(-rows // ROWS), -(-out.shape[1] // block))
    other = x if residual is None else residual.contiguous()
    options = {"RELU": relu, "HALVES": add_halves, "RESIDUAL": residual is not None, "C": block, "R": ROWS}
    triton_norm.normalize[grid](x, mean, inverse, weight, bias, other, out, rows, channels, **options)
    return out


@normalize_batch.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    inverse: Tensor,
    ratio: Tensor,
    residual: Tensor | None,
    relu: bool,
    add_halves: bool,
) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1] // 2 if add_halves else x.shape[1])


@torch.library.custom_op("axial_deeplab::normalize_batch_backward", mutates_args=())
def normalize_batch_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    inverse: Tensor,
    ratio: Tensor,
    out: Tensor | None,
    relu: bool,
    add_halves: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of `x`, those of bias and weight, float32 [2, channel], and that of a residual behind a ReLU.

    Args:
        grad: Gradient of the result.
        x: As in `normalize_batch`.
        weight: The same.
        bias: The same.
        mean: The same.
        inverse: The same.
        ratio: The same.
        out: The result, where a ReLU followed a sum; else the norm alone decides what the ReLU let through, and the last of the
            gradients is empty.
        relu: As in `normalize_batch`.
        add_halves: The same.
    """
    grad = grad.contiguous()
    grads, masked = sum_norm_gradients(grad, x, weight, bias, mean, inverse, out, relu=relu, add_halves=add_halves)
    grad_x = torch.empty_like(x)
    left, relu = (grad, relu) if out is None else (masked, False)
    shared = share_gradients(grads, ratio)
    write_norm_gradient(left, x, weight, bias, mean, inverse, shared, grad_x, relu=relu, add_halves=add_halves)
    return grad_x, grads, masked


def sum_norm_gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    inverse: Tensor,
    out: Tensor | None,
    *,
    relu: bool,
    add_halves: bool,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of bias and weight, [2, channel], and the gradient behind a ReLU that follows a sum."""
    from axial_deeplab.ops import triton_norm

    rows, channels = x.shape
    block, num_shares, per_share = divide_rows(rows, channels, ROWS, SHARES_WANTED)
    shares = x.new_empty(2, num_shares, channels, dtype=torch.float32)
    grads = x.new_empty(2, channels, dtype=torch.float32)
    masked = x.new_empty(0) if out is None else torch.empty_like(grad)
    given = (x, grad, mean, inverse, weight, bias, x if out is None else out, masked)
    options = {"RELU": relu, "FROM_OUT": out is not None, "HALVES": add_halves, "C": block, "R": ROWS}
    grid = (num_shares, -(-channels // block))
    triton_norm.sum_gradients[grid](*given, shares, rows, channels, per_share, **options)
    triton_norm.finish_gradients[-(-channels // 8), 2](shares, grads, channels, num_shares, C=8, S=256)
    return grads, masked


def write_norm_gradient(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    inverse: Tensor,
    grads: Tensor,
    grad_x: Tensor,
    *,
    relu: bool,
    add_halves: bool,
) -> None:
    """Fill `grad_x`, which may be `grad` itself where halves are not added; `grads` as `share_gradients` returns them."""
    from axial_deeplab.ops import triton_norm

    rows, channels = x.shape
    block = choose_block(channels)
    options = {"RELU": relu, "HALVES": add_halves, "C": block, "R": ROWS}
    grid = (-(-rows // ROWS), -(-channels // block))
    triton_norm.normalize_backward[grid](x, grad, mean, inverse, weight, bias, grads, grad_x, rows, channels, **options)


@normalize_batch_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    inverse: Tensor,
    ratio: Tensor,
    out: Tensor | None,
    relu: bool,
    add_halves: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    masked = x.new_empty(0 if out is None else grad.shape)
    return torch.empty_like(x), x.new_empty(2, x.shape[1], dtype=torch.float32), masked


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    *tensors, residual, relu, add_halves = inputs
    ctx.options = (residual is not None, relu, add_halves)  # type: ignore[attr-defined]
    kept = output if relu and (residual is not None or add_halves) else None
    ctx.save_for_backward(*tensors, kept)  # type: ignore[arg-type]


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple:
    x, weight, bias, mean, inverse, ratio, out = ctx.saved_tensors  # type: ignore[attr-defined]
    has_residual, relu, add_halves = ctx.options  # type: ignore[attr-defined]
    grad_x, grads, masked = normalize_batch_backward(grad, x, weight, bias, mean, inverse, ratio, out, relu, add_halves)
    grad_residual = (grad if out is None else masked) if has_residual else None
    return grad_x, grads[1].to(weight.dtype), grads[0].to(bias.dtype), None, None, None, grad_residual, None, None


normalize_batch.register_autograd(_differentiate, setup_context=_save)


def choose_block(channels: int) -> int:
    """Return the channels of a tile, a power of two."""
    return min(64, 1 << (channels - 1).bit_length())


def divide_rows(rows: int, channels: int, tile_rows: int, programs: int) -> tuple[int, int, int]:
    """Return the channels of a tile, into how many shares the rows are divided, and the rows of a share."""
    block = choose_block(channels)
    wanted = max(1, programs // -(-channels // block))
    per_share = -(-max(tile_rows, -(-rows // wanted)) // tile_rows) * tile_rows
    return block, -(-rows // per_share), per_share
