"""Attention at inference with the norm after it: one operator, one output, nothing between."""

import torch
from torch import Tensor

from axial_deeplab.ops.run_kernels import describe_call, run_forward, spread_scales
from axial_deeplab.ops.triton_tiles import Merge


@torch.library.custom_op("axial_deeplab::folded_attention", mutates_args=())
def folded_attention(
    qkv: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    scales: Tensor,
    affine: Tensor,
    relu: bool,
    num_heads: int,
    key_dim: int,
    span: int | None,
    backend: str,
) -> Tensor:
    """Attend, scale and shift every channel that is retrieved, add position to content, and apply a ReLU if asked to.

    Args:
        qkv: As in `attend_packed`, on a GPU.
        query_table: As in `attention`.
        key_table: The same.
        value_table: The same.
        scales: [term, head], as in `attend_packed`.
        affine: float32 [2, channel]: scale and shift of content, then of position.
        relu: Whether a ReLU follows.
        num_heads: Number of heads.
        key_dim: Channels of a query or key.
        span: As in `attend_packed`.
        backend: "cuda", "triton", or "auto".

    Returns:
        [outer, length, inner, num_heads * value_dim]. There are no gradients.
    """
    tables = (query_table, key_table, value_table)
    g = describe_call(qkv, tables, num_heads, key_dim, span)
    if qkv.numel() == 0:
        return qkv.new_empty((*qkv.shape[:3], num_heads * g.value_dim))
    merge = Merge(affine.float().contiguous(), relu)
    given = (qkv, tables, spread_scales(scales, tables), g, span)
    return run_forward(*given, keep_lse=False, backend=backend, merge=merge)[0]


@folded_attention.register_fake
def _(
    qkv: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    value_table: Tensor | None,
    scales: Tensor,
    affine: Tensor,
    relu: bool,
    num_heads: int,
    key_dim: int,
    span: int | None,
    backend: str,
) -> Tensor:
    return qkv.new_empty((*qkv.shape[:3], qkv.shape[3] - 2 * num_heads * key_dim))
