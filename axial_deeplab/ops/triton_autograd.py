"""The fused attention as an operator of PyTorch: fake kernels, autograd formula; compiles, exports, and runs in CUDA graphs.

Source of the formulas: docs/kernels.md.
"""

import torch
from torch import Tensor

from axial_deeplab.ops.run_kernels import (
    Gradients,
    describe_call,
    run_backward,
    run_forward,
    run_statistics,
    run_statistics_backward,
)
from axial_deeplab.ops.triton_tiles import INTERPRETED, MAX_KEY_DIM, MAX_VALUE_DIM

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def explain_why_not(device: torch.device, dtype: torch.dtype, key_dim: int, value_dim: int) -> str | None:
    """Return why the kernels cannot take such tensors, or `None` if they can."""
    if device.type != "cuda" and not INTERPRETED:
        return f"the tensors are on {device.type}, not on a GPU"
    if torch.version.hip is not None:
        return "the kernels hold instructions of NVIDIA's GPUs"
    if dtype not in DTYPES:
        return f"there is no kernel for {dtype}"
    if dtype == torch.bfloat16 and not INTERPRETED and torch.cuda.get_device_capability(device) < (8, 0):
        return "this GPU has no bfloat16 arithmetic"
    if not 2 <= key_dim <= MAX_KEY_DIM or not 4 <= value_dim <= MAX_VALUE_DIM:
        return f"the kernels take 2 to {MAX_KEY_DIM} key and 4 to {MAX_VALUE_DIM} value channels a head"
    return None


@torch.library.custom_op("axial_deeplab::attention", mutates_args=())
def attention(
    qkv: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    scales: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None,
    keep_lse: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Attend along the second dimension of a packed map.

    Args:
        qkv: [outer, length, inner, num_heads * (2 * key_dim + value_dim)], contiguous: queries, keys, values of all heads.
        query_table: [2 * max_distance + 1, key_dim], ascending distance; or `None`.
        key_table: The same.
        value_table: [2 * max_distance + 1, value_dim], or `None`.
        scales: float32 [3, num_heads] of the content, query and key term; those of absent terms are not used.
        num_heads: Number of heads.
        key_dim: Channels of a query or key.
        span: Keys that a query sees, odd, or `None`.
        keep_lse: Whether gradients will be wanted.
        backend: "cuda" or "triton" kernels, or "auto" for whichever is faster.

    Returns:
        What is retrieved, [outer, length, inner, channels], content before position; and the log-sum-exp of the logits in
        base 2, float32 [length, outer * inner * num_heads], of no length unless it is kept.
    """
    if qkv.numel() == 0:
        return _allocate_outputs(qkv, value_table, scales, num_heads, key_dim, keep_lse)
    tables = (query_table, key_table, value_table)
    geometry = describe_call(qkv, tables, num_heads, key_dim, span)
    return run_forward(qkv, tables, scales, geometry, span, keep_lse=keep_lse, backend=backend)


@attention.register_fake
def _(
    qkv: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    scales: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None,
    keep_lse: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    return _allocate_outputs(qkv, value_table, scales, num_heads, key_dim, keep_lse)


@torch.library.custom_op("axial_deeplab::attention_backward", mutates_args=())
def attention_backward(
    grad: Tensor,
    qkv: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    scales: Tensor,
    retrieved: Tensor,
    lse: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of `qkv`, of the three tables (float32, empty for one that is absent), and of `scales`, float32."""
    tables = (query_table, key_table, value_table)
    if qkv.numel() == 0:
        return _allocate_gradients(qkv, tables, lse, num_heads)
    geometry = describe_call(qkv, tables, num_heads, key_dim, span)
    return run_backward(grad, qkv, tables, scales, retrieved, lse, geometry, span, backend=backend)


@attention_backward.register_fake
def _(
    grad: Tensor,
    qkv: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    scales: Tensor,
    retrieved: Tensor,
    lse: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _allocate_gradients(qkv, (query_table, key_table, value_table), lse, num_heads)


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, num_heads, key_dim, span, _, backend = inputs
    ctx.options = (num_heads, key_dim, span, backend)  # type: ignore[attr-defined]
    ctx.save_for_backward(*tensors, *output)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad: Tensor | None, _: Tensor | None) -> tuple:
    if grad is None:
        return (None,) * 10
    saved = ctx.saved_tensors  # type: ignore[attr-defined]
    grad_qkv, *grad_tables, grad_scales = attention_backward(grad, *saved, *ctx.options)  # type: ignore[attr-defined]
    tables = [
        None if table is None else grad_table.to(table.dtype)
        for table, grad_table in zip(saved[1:4], grad_tables, strict=True)
    ]
    return (grad_qkv, *tables, grad_scales.to(saved[4].dtype), None, None, None, None, None)


attention.register_autograd(_differentiate, setup_context=_save)


@torch.library.custom_op("axial_deeplab::similarity_statistics", mutates_args=())
def similarity_statistics(qkv: Tensor, num_heads: int, key_dim: int, span: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the moments of the three similarity terms depend on.

    Args:
        qkv: As in `attention`.
        num_heads: Number of heads.
        key_dim: Channels of a query or key.
        span: As in `attention`.

    Returns:
        Sum and sum of squares of the content term over all visible pairs, float64 [2, head]; for queries and keys the sums
        over all lines at every position, float32 [2, length, head, key_dim], and their Gram matrices [..., key_dim, key_dim].
    """
    if qkv.numel() == 0:
        return _allocate_statistics(qkv, num_heads, key_dim)
    geometry = describe_call(qkv, (None, None, None), num_heads, key_dim, span)
    return run_statistics(qkv, geometry, span)


@similarity_statistics.register_fake
def _(qkv: Tensor, num_heads: int, key_dim: int, span: int | None) -> tuple[Tensor, Tensor, Tensor]:
    return _allocate_statistics(qkv, num_heads, key_dim)


@torch.library.custom_op("axial_deeplab::similarity_statistics_backward", mutates_args=())
def similarity_statistics_backward(
    grad_moments: Tensor,
    grad_sums: Tensor,
    grad_grams: Tensor,
    qkv: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None,
) -> Tensor:
    """Return the gradient of `qkv`."""
    if qkv.numel() == 0:
        return torch.empty_like(qkv, memory_format=torch.contiguous_format)
    geometry = describe_call(qkv, (None, None, None), num_heads, key_dim, span)
    return run_statistics_backward((grad_moments, grad_sums, grad_grams), qkv, geometry, span)


@similarity_statistics_backward.register_fake
def _(
    grad_moments: Tensor,
    grad_sums: Tensor,
    grad_grams: Tensor,
    qkv: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None,
) -> Tensor:
    return torch.empty_like(qkv, memory_format=torch.contiguous_format)


def _save_statistics(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple) -> None:
    qkv, *ctx.options = inputs  # type: ignore[attr-defined]
    ctx.save_for_backward(qkv)


def _differentiate_statistics(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple:
    (qkv,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return similarity_statistics_backward(*grads, qkv, *ctx.options), None, None, None  # type: ignore[attr-defined]


similarity_statistics.register_autograd(_differentiate_statistics, setup_context=_save_statistics)


def _allocate_outputs(
    qkv: Tensor, value_table: Tensor | None, scales: Tensor, num_heads: int, key_dim: int, keep_lse: bool
) -> tuple[Tensor, Tensor]:
    """Return outputs of `attention` without values: all that there is for an empty map."""
    outer, length, inner, channels = qkv.shape
    value_channels = channels - 2 * num_heads * key_dim
    retrieved = qkv.new_empty((outer, length, inner, (1 + (value_table is not None)) * value_channels))
    return retrieved, scales.new_empty((length * keep_lse, outer * inner * num_heads), dtype=torch.float32)


def _allocate_gradients(qkv: Tensor, tables: tuple[Tensor | None, ...], lse: Tensor, num_heads: int) -> Gradients:
    """Return gradients of zeros, as `attention_backward` has them for an empty map."""
    grads = [lse.new_zeros(0 if table is None else table.shape) for table in tables]
    grad_qkv = torch.zeros_like(qkv, memory_format=torch.contiguous_format)
    return grad_qkv, grads[0], grads[1], grads[2], lse.new_zeros((3, num_heads))


def _allocate_statistics(qkv: Tensor, num_heads: int, key_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return sums of zeros, as `similarity_statistics` has them for an empty map."""
    shape = (2, qkv.shape[1], num_heads, key_dim)
    sums = qkv.new_zeros(shape, dtype=torch.float32)
    return qkv.new_zeros((2, num_heads), dtype=torch.float64), sums, sums.new_zeros((*shape, key_dim))
