"""What PyTorch's `FlopCounterMode` counts for the fused attention: two operations a multiply-add, borders not subtracted."""

from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from axial_deeplab.ops import folded_attention, normed_attention, triton_autograd  # noqa: F401  define the operators

Shape = tuple[int, ...]


@register_flop_formula(torch.ops.axial_deeplab.attention)
def count_attention(
    qkv: Shape,
    query_table: Shape | None,
    key_table: Shape | None,
    value_table: Shape | None,
    scales: Shape,
    num_heads: int,
    key_dim: int,
    span: int | None,
    *_: Any,
    **__: Any,
) -> int:
    """Count the forward pass: for a pair of positions `key_dim` multiply-adds a similarity term and `value_dim` a sum."""
    outer, length, inner, channels = qkv
    value_dim = channels // num_heads - 2 * key_dim
    terms = 1 + (query_table is not None) + (key_table is not None)
    sums = 1 + (value_table is not None)
    seen = length if span is None else min(length, span)
    return 2 * outer * inner * length * seen * num_heads * (terms * key_dim + sums * value_dim)


@register_flop_formula(torch.ops.axial_deeplab.attention_backward)
def count_attention_backward(grad: Shape, *arguments: Any, **_: Any) -> int:
    """Count the backward pass as twice the forward one, as for a matrix product; what is recomputed does not count."""
    qkv, query_table, key_table, value_table, scales, _retrieved, _lse, *options = arguments
    return 2 * count_attention(qkv, query_table, key_table, value_table, scales, *options)


@register_flop_formula(torch.ops.axial_deeplab.normed_attention)
def count_normed_attention(qkv: Shape, *arguments: Any, **_: Any) -> int:
    """Count what `attention` does; norms do not count."""
    tables, (weight, *options) = arguments[5:8], arguments[8:]
    return count_attention(qkv, *tables, weight, *options)


@register_flop_formula(torch.ops.axial_deeplab.normed_attention_backward)
def count_normed_attention_backward(grad: Shape, qkv: Shape, *arguments: Any, **_: Any) -> int:
    """Count the backward pass as twice the forward one."""
    return 2 * count_attention(qkv, *arguments[5:8], arguments[8], *arguments[18:])


@register_flop_formula(torch.ops.axial_deeplab.folded_attention)
def count_folded_attention(qkv: Shape, *arguments: Any, **_: Any) -> int:
    """Count what `attention` does; the norm does not count."""
    return count_attention(qkv, *arguments[:4], *arguments[6:])
