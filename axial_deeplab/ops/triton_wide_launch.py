"""Launch the kernels for wide heads: tile sizes, grids, outputs, and the small sums that follow a kernel."""

import torch
import triton
from torch import Tensor

from axial_deeplab.ops.triton_tiles import INTERPRETED, Geometry, describe_sizes
from axial_deeplab.ops.triton_wide import wide_attention_forward
from axial_deeplab.ops.triton_wide_backward import (
    wide_attention_backward_keys,
    wide_attention_backward_queries,
    wide_attention_backward_tables,
)

PROGRAMS_WANTED = 132 * 4
"""int: Programs among which sums over all lines are split; fixed, so that the order of the sums is."""


def launch_wide_forward(
    qkv: Tensor, packed_rows: Tensor, scales: Tensor, g: Geometry, margin: int, *, keep_lse: bool
) -> tuple[Tensor, Tensor]:
    """Do what `launch_forward` does."""
    retrieved = qkv.new_empty((*qkv.shape[:3], (1 + g.terms[2]) * g.num_heads * g.value_dim))
    pairs = g.num_lines * g.num_heads
    lse = torch.empty(g.length if keep_lse else 0, pairs, dtype=torch.float32, device=qkv.device)
    constants = specialize_wide(g, qkv.dtype)
    grid = (triton.cdiv(g.length, constants["B"]) * pairs,)
    sizes = describe_sizes(g, margin)
    wide_attention_forward[grid](
        qkv, packed_rows, scales, retrieved, lse, *sizes, **constants, KEEP_LSE=int(keep_lse)
    )
    return retrieved, lse


def launch_wide_backward(
    given: tuple[Tensor, Tensor, Tensor],
    retrieved: Tensor,
    lse: Tensor,
    grad_retrieved: Tensor,
    g: Geometry,
    margin: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `launch_backward` does; `given` are its first three arguments."""
    grad_qkv, delta = torch.empty_like(given[0]), torch.empty_like(lse)
    constants, sizes = specialize_wide(g, given[0].dtype), describe_sizes(g, margin)
    pairs, blocks = g.num_lines * g.num_heads, triton.cdiv(g.length, constants["B"])
    scale_shares = lse.new_empty(3, g.num_lines, g.num_heads, blocks)
    grid = (blocks * pairs,)
    wide_attention_backward_queries[grid](
        *given, retrieved, lse, grad_retrieved, delta, grad_qkv, scale_shares, *sizes, **constants
    )
    wide_attention_backward_keys[grid](*given, lse, grad_retrieved, delta, grad_qkv, *sizes, **constants)
    diagonals = 2 * triton.cdiv(g.reach, constants["B"]) + 1
    splits = max(1, min(pairs, PROGRAMS_WANTED // diagonals)) if any(g.terms) else 0
    row_shares = lse.new_zeros(2 * max(splits, 1), 2 * g.reach + 1, g.pitch)
    if splits:
        wide_attention_backward_tables[(splits * diagonals,)](
            *given, lse, grad_retrieved, delta, row_shares, *sizes, splits, **constants
        )
    return grad_qkv, row_shares, scale_shares.sum((1, 3))


def specialize_wide(g: Geometry, dtype: torch.dtype) -> dict[str, int]:
    """Return the compile-time constants of the kernels."""
    constants = {"HEADS": g.num_heads, "D": g.key_dim, "E": g.value_dim}
    constants |= {f"HAS_{name}": int(on) for name, on in zip(("QUERY", "KEY", "VALUE"), g.terms, strict=True)}
    constants |= {"B": 16, "C": 32 if dtype == torch.float32 else 64}
    warps = 8 if dtype == torch.float32 or g.width > 64 else 4
    return constants if INTERPRETED else constants | {"num_warps": warps}


def list_wide_kernels(g: Geometry, dtype: torch.dtype) -> list[tuple[triton.runtime.JITFunction, dict[str, int]]]:
    """Return kernel and constants of every launch for such a call."""
    constants = specialize_wide(g, dtype)
    return [
        (wide_attention_forward, constants | {"KEEP_LSE": 1}),
        (wide_attention_backward_queries, dict(constants)),
        (wide_attention_backward_keys, dict(constants)),
        (wide_attention_backward_tables, dict(constants)),
    ]
