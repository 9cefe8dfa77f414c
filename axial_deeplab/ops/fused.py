"""The fused path: moments and attention of a packed map through the Triton kernels. The reference beside it is the law."""

from functools import lru_cache

import torch
from torch import Tensor

from axial_deeplab.ops import triton_flops  # noqa: F401  registers what the operators cost
from axial_deeplab.ops.geometry import compute_reach, count_visible_pairs
from axial_deeplab.ops.moments import SimilarityMoments
from axial_deeplab.ops.reference import RelativeTables
from axial_deeplab.ops.run_kernels import spread_scales
from axial_deeplab.ops.triton_autograd import attention, explain_why_not, similarity_statistics

__all__ = ["attend_fused", "compute_moments_fused", "explain_why_not"]


def attend_fused(
    qkv: Tensor,
    tables: RelativeTables,
    scales: Tensor,
    *,
    num_heads: int,
    key_dim: int,
    span: int | None,
    backend: str = "auto",
) -> Tensor:
    """Compute what `attend_packed` promises; see there. The backend is "cuda", "triton", or "auto" for the faster one."""
    wanted = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (qkv, *tables, scales))
    options = (num_heads, key_dim, span, wanted, backend)
    retrieved, _ = attention(qkv, *tables, spread_scales(scales, tables), *options)
    return retrieved


def compute_moments_fused(
    qkv: Tensor, tables: RelativeTables, *, num_heads: int, key_dim: int, span: int | None
) -> SimilarityMoments:
    """Compute what `compute_packed_moments` promises; see there.

    With `s_o` and `S_o` the sums of the rows that position `o` meets and of their outer products, the query term sums to
    `<s_o, sum of q_o>` and its square to `<S_o, sum of q_o q_o^T>`, sums over all lines. Both are products of the table with
    the number of times that each row is met.
    """
    moments, sums, grams = similarity_statistics(qkv, num_heads, key_dim, span)
    present = [part for part, table in enumerate((tables.query, tables.key)) if table is not None]
    if present:
        which = slice(present[0], present[-1] + 1)
        table = torch.stack([table.float() for table in (tables.query, tables.key) if table is not None])
        met = count_rows_met(qkv.detach(), qkv.shape[1], table.shape[1], span)[which]  # [term, length, row]
        outer = (table[..., :, None] * table[..., None, :]).flatten(2)
        with torch.autocast(qkv.device.type, enabled=False):
            position = torch.stack(
                [
                    torch.einsum("tohd,tod->th", sums[which], met @ table),
                    torch.einsum("tohd,tod->th", grams[which].flatten(3), met @ outer),
                ]
            )
        moments = torch.cat([moments[:, None], position.double()], dim=1)
    else:
        moments = moments[:, None]
    pairs = qkv.shape[0] * qkv.shape[2] * count_visible_pairs(qkv.shape[1], span)
    num_pairs = torch.full((), pairs, dtype=torch.float64, device=qkv.device)
    return SimilarityMoments(moments[0], moments[1], num_pairs)


@torch.library.custom_op("axial_deeplab::count_rows_met", mutates_args=())
def count_rows_met(like: Tensor, length: int, num_rows: int, span: int | None) -> Tensor:
    """Return how often a query at each position meets each row of the query table, and a key those of the key table.

    Rows at the ends of a table stand for all distances beyond; float32 [2, length, num_rows] on the device of `like`. An
    operator, because the result is kept for the next call, which a compiler would not do. What is returned is a copy: a
    compiler may write over it. Nothing is kept from inside a CUDA graph, whose memory is its own.
    """
    if like.is_cuda and torch.cuda.is_current_stream_capturing():
        return _count_rows_met(length, num_rows, span, like.device)
    return _recall_rows_met(length, num_rows, span, like.device).clone()


@count_rows_met.register_fake
def _(like: Tensor, length: int, num_rows: int, span: int | None) -> Tensor:
    return like.new_empty((2, length, num_rows), dtype=torch.float32)


@lru_cache(maxsize=16)
def _recall_rows_met(length: int, num_rows: int, span: int | None, device: torch.device) -> Tensor:
    return _count_rows_met(length, num_rows, span, device)


def _count_rows_met(length: int, num_rows: int, span: int | None, device: torch.device) -> Tensor:
    reach, max_distance = compute_reach(length, span), (num_rows - 1) // 2
    with torch.inference_mode(False):  # what is kept must serve training too
        position = torch.arange(length, device=device)[:, None]
        nearest = (position - reach).clamp_min(0) - position  # smallest and largest distance that is seen
        farthest = (position + reach).clamp_max(length - 1) - position
        row = torch.arange(num_rows, device=device)[None, :]
        # The rows at the ends begin and end nowhere.
        low = torch.where(row == 0, nearest, row - max_distance)
        high = torch.where(row == num_rows - 1, farthest, row - max_distance)
        met = (torch.minimum(high, farthest) - torch.maximum(low, nearest) + 1).clamp_min(0).float()
        # A key at p meets the distance p - o where a query at p would meet o - p.
        return torch.stack([met, met.flip(1)])
