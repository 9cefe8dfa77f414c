"""Attention in training, with both batch norms that come before it: that of queries, keys and values, and that of the logits.

One operator, because what lies between them need not be kept. The CUDA kernels and those of the statistics normalise what they
load, others are given a copy for the while, so that the map before the norm is the only one kept; backward, every part adds to
the gradient of the map in place. It computes what `batch_norm`, `compute_packed_scales` and `attend_packed` compute one after
the other.
"""

import torch
from torch import Tensor

from axial_deeplab.ops.batch_norm import NormState, batch_statistics
from axial_deeplab.ops.geometry import count_visible_pairs
from axial_deeplab.ops.normalize_batch import sum_norm_gradients, write_norm_gradient
from axial_deeplab.ops.processes import share_gradients
from axial_deeplab.ops.reference import RelativeTables
from axial_deeplab.ops.run_kernels import (
    describe_call,
    run_backward,
    run_forward,
    run_statistics,
    run_statistics_backward,
    spread_scales,
)
from axial_deeplab.ops.similarity_scales import similarity_scales, similarity_scales_backward


def attend_normed(
    qkv: Tensor,
    norm: NormState,
    tables: RelativeTables,
    weight: Tensor,
    *,
    num_heads: int,
    key_dim: int,
    span: int | None,
    eps: float,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise a packed map by its own statistics, the logits by theirs, and attend; both shared if those of `norm` are.

    Args:
        qkv: As in `attend_packed`, contiguous, on a GPU; before the norm.
        norm: That of queries, keys and values; its running statistics are moved.
        tables: As in `attend_packed`; those of query and key have the same number of rows.
        weight: [term, head] of the norm on the logits.
        num_heads: Number of heads.
        key_dim: Channels of a query or key.
        span: As in `attend_packed`.
        eps: Added to the variance of the logits.
        backend: "cuda", "triton", or "auto".

    Returns:
        What is retrieved, as by `attend_packed`; mean and biased variance of the similarity terms, [term, head].
    """
    given = (norm.weight, norm.bias)
    with torch.no_grad():
        running = (norm.running_mean, norm.running_var, norm.eps, norm.momentum, norm.correction, norm.shared)
        rows = qkv.detach().flatten(0, 2)
        statistics = batch_statistics(rows, norm.weight.detach(), norm.bias.detach(), *running)
    wanted = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (qkv, *given, *tables, weight))
    options = (num_heads, key_dim, span, eps, wanted, backend)
    retrieved, _, _, mean, variance, *_ = normed_attention(qkv, *given, *statistics, *tables, weight, *options)
    return retrieved, mean, variance


@torch.library.custom_op("axial_deeplab::normed_attention", mutates_args=())
def normed_attention(
    qkv: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_mean: Tensor,
    norm_inverse: Tensor,
    affine: Tensor,
    ratio: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    weight: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None,
    eps: float,
    keep_lse: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return what is retrieved, log-sum-exp, scales, mean and variance of the terms; and, for the backward pass, sums, Gram
    matrices, `s` and `S` (see `triton_scales`), and the share of this process in all pairs.

    Args:
        qkv: As in `attend_normed`.
        norm_weight: float32 [channel], of the norm of the map.
        norm_bias: The same.
        norm_mean: From `batch_statistics`, as the next three: functions of the map, which have no gradients of their own.
        norm_inverse: float32 [channel].
        affine: float32 [2, channel]: scale and shift of the norm.
        ratio: float32 [1]; [0] if all statistics are those of this process alone.
        query_table: As in `attention`.
        key_table: The same.
        value_table: The same.
        weight: As in `attend_normed`.
        num_heads: The same.
        key_dim: The same.
        span: The same.
        eps: The same.
        keep_lse: Whether gradients will be wanted.
        backend: As in `attend_normed`.
    """
    tables = (query_table, key_table, value_table)
    g = describe_call(qkv, tables, num_heads, key_dim, span)
    moments, sums, grams = run_statistics(qkv, g, span, affine)
    num_pairs = g.num_lines * count_visible_pairs(g.length, span)
    scales, *statistics = similarity_scales(
        moments, sums, grams, query_table, key_table, weight, num_pairs, g.reach, eps, ratio.numel() > 0
    )
    retrieved, lse = run_forward(
        qkv, tables, spread_scales(scales, tables), g, span, keep_lse=keep_lse, backend=backend, affine=affine
    )
    mean, variance, rows_met, products_met, pair_ratio = statistics
    return retrieved, lse, scales, mean, variance, sums, grams, rows_met, products_met, pair_ratio


@normed_attention.register_fake
def _(
    qkv: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_mean: Tensor,
    norm_inverse: Tensor,
    affine: Tensor,
    ratio: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    weight: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None,
    eps: float,
    keep_lse: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    outer, length, inner, channels = qkv.shape
    value_channels = channels - 2 * num_heads * key_dim
    retrieved = qkv.new_empty((outer, length, inner, (1 + (value_table is not None)) * value_channels))
    lse = affine.new_empty(length * keep_lse, outer * inner * num_heads)
    scales, mean, variance = (affine.new_empty(weight.shape) for _ in range(3))
    sums, grams = (
        affine.new_empty(2, length, num_heads, key_dim),
        affine.new_empty(2, length, num_heads, key_dim, key_dim),
    )
    met = affine.new_empty(2, length, key_dim), affine.new_empty(2, length, key_dim, key_dim)
    return retrieved, lse, scales, mean, variance, sums, grams, *met, torch.empty_like(ratio)


@torch.library.custom_op("axial_deeplab::normed_attention_backward", mutates_args=())
def normed_attention_backward(
    grad: Tensor,
    qkv: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_mean: Tensor,
    norm_inverse: Tensor,
    affine: Tensor,
    ratio: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    weight: Tensor,
    retrieved: Tensor,
    lse: Tensor,
    scales: Tensor,
    mean: Tensor,
    variance: Tensor,
    sums: Tensor,
    grams: Tensor,
    rows_met: Tensor,
    products_met: Tensor,
    pair_ratio: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None,
    eps: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of `qkv`, of bias and weight of its norm, [2, channel], of the three tables (float32, empty for one
    that is absent), and of `weight`."""
    tables = (query_table, key_table, value_table)
    g = describe_call(qkv, tables, num_heads, key_dim, span)
    grad_qkv, *grad_tables, grad_scales = run_backward(
        grad, qkv, tables, spread_scales(scales, tables), retrieved, lse, g, span, backend=backend, affine=affine
    )
    present = [0, *(term for term, on in enumerate(g.terms[:2], start=1) if on)]
    if len(present) < 3:
        grad_scales = torch.stack([grad_scales[term] for term in present])
    given = (mean, variance, sums, grams, query_table, key_table, rows_met, products_met, weight, pair_ratio)
    num_pairs = g.num_lines * count_visible_pairs(g.length, span)
    found = similarity_scales_backward(grad_scales, *given, num_pairs, g.reach, eps)
    grads, grad_weight, of_rows = found[:3], found[3], found[4:]
    grad_qkv = run_statistics_backward(grads, qkv, g, span, affine=affine, grad_qkv=grad_qkv)
    for grad_table, more in zip(grad_tables, of_rows, strict=False):
        grad_table.add_(more)
    rows = (grad_qkv.flatten(0, 2), qkv.flatten(0, 2), norm_weight, norm_bias, norm_mean, norm_inverse)
    grad_norm, _ = sum_norm_gradients(*rows, None, relu=False, add_halves=False)
    write_norm_gradient(*rows, share_gradients(grad_norm, ratio), rows[0], relu=False, add_halves=False)
    return grad_qkv, grad_norm, grad_tables[0], grad_tables[1], grad_tables[2], grad_weight


@normed_attention_backward.register_fake
def _(
    grad: Tensor,
    qkv: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    norm_mean: Tensor,
    norm_inverse: Tensor,
    affine: Tensor,
    ratio: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    weight: Tensor,
    *_: Tensor | float | str | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    grads = [affine.new_empty(0 if x is None else x.shape) for x in (query_table, key_table, value_table, weight)]
    return torch.empty_like(qkv), torch.empty_like(affine), grads[0], grads[1], grads[2], grads[3]


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple) -> None:
    *tensors, num_heads, key_dim, span, eps, _, backend = inputs
    ctx.options = (num_heads, key_dim, span, eps, backend)  # type: ignore[attr-defined]
    ctx.save_for_backward(*tensors, *output)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad: Tensor | None, *_: Tensor | None) -> tuple:
    if grad is None:
        return (None,) * 17
    saved = ctx.saved_tensors  # type: ignore[attr-defined]
    found = normed_attention_backward(grad, *saved, *ctx.options)  # type: ignore[attr-defined]
    grad_qkv, grad_norm, *grads = found
    parameters = [None if x is None else grad_x.to(x.dtype) for x, grad_x in zip(saved[7:11], grads, strict=True)]
    norm = (grad_norm[1].to(saved[1].dtype), grad_norm[0].to(saved[2].dtype))
    return (grad_qkv, *norm, None, None, None, None, *parameters, *(None,) * 6)


normed_attention.register_autograd(_differentiate, setup_context=_save)
