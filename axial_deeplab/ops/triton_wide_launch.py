"""Launch the kernels for wide heads: tile sizes, grids, outputs, and the small sums that follow a kernel."""

import torch
import triton
from torch import Tensor

from axial_deeplab.ops.triton_tiles import INTERPRETED, WARPS_WANTED, Geometry, describe_sizes
from axial_deeplab.ops.triton_wide import wide_attention_forward
from axial_deeplab.ops.triton_wide_backward import (
    wide_attention_backward_keys,
    wide_attention_backward_queries,
)
from axial_deeplab.ops.triton_wide_moments import (
    wide_line_grams,
    wide_line_grams_backward,
    wide_moments,
    wide_moments_backward,
)
from axial_deeplab.ops.triton_wide_tables import wide_attention_backward_tables

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
    wide_attention_forward[grid](qkv, packed_rows, scales, retrieved, lse, *sizes, **constants, KEEP_LSE=int(keep_lse))
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
    splits = max(1, min(pairs, PROGRAMS_WANTED // diagonals))
    row_shares = lse.new_zeros(2 * splits, 2 * g.reach + 1, g.pitch)
    if any(g.terms):
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


def launch_wide_statistics(qkv: Tensor, g: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `launch_statistics` does."""
    constants, sizes = specialize_wide_statistics(g), describe_sizes(g, 0)
    blocks = triton.cdiv(g.length, constants["B"])
    moments = torch.empty(2, g.num_lines, g.num_heads, blocks, dtype=torch.float32, device=qkv.device)
    wide_moments[(g.num_lines * g.num_heads * blocks,)](qkv, moments, *sizes, **constants)
    splits, parts = split_lines(g, constants)
    sums = moments.new_empty(splits, 2, g.length, g.num_heads, g.key_dim)
    grams = moments.new_empty(splits, 2, g.length, g.num_heads, g.key_dim, g.key_dim)
    programs = splits * 2 * g.length * g.num_heads * parts**2
    wide_line_grams[(programs,)](qkv, sums, grams, *sizes, splits, **constants)
    return moments.sum((1, 3), dtype=torch.float64), sums.sum(0), grams.sum(0)


def launch_wide_statistics_backward(
    qkv: Tensor, grad_moments: Tensor, grad_sums: Tensor, grad_grams: Tensor, g: Geometry
) -> Tensor:
    """Do what `launch_statistics_backward` does."""
    grad_qkv = torch.zeros_like(qkv)
    constants, sizes = specialize_wide_statistics(g), describe_sizes(g, 0)
    splits, parts = split_lines(g, constants)
    symmetric = (grad_grams + grad_grams.mT).contiguous()
    wide_line_grams_backward[(splits * 2 * g.length * g.num_heads * parts,)](
        qkv, grad_sums.contiguous(), symmetric, grad_qkv, *sizes, splits, **constants
    )
    programs = g.num_lines * g.num_heads * 2 * triton.cdiv(g.length, constants["B"])
    wide_moments_backward[(programs,)](qkv, grad_moments.float(), grad_qkv, *sizes, **constants)
    return grad_qkv


def specialize_wide_statistics(g: Geometry) -> dict[str, int]:
    """Return the compile-time constants of the kernels of the statistics."""
    constants = {"HEADS": g.num_heads, "D": g.key_dim, "E": g.value_dim, "B": 16, "C": 32}
    return constants if INTERPRETED else constants | {"num_warps": 4}


def split_lines(g: Geometry, constants: dict[str, int]) -> tuple[int, int]:
    """Return among how many programs the lines are split, and how many parts a head's channels have."""
    parts = triton.cdiv(g.key_dim, constants["C"])
    programs = 2 * g.length * g.num_heads * parts**2
    splits = max(1, min(triton.cdiv(g.num_lines, constants["B"]), WARPS_WANTED // (4 * programs)))
    return splits, parts


def list_wide_kernels(g: Geometry, dtype: torch.dtype) -> list[tuple[triton.runtime.JITFunction, dict[str, int]]]:
    """Return kernel and constants of every launch for such a call, to compile ahead of time."""
    constants = specialize_wide(g, dtype)
    return [
        (wide_attention_forward, constants | {"KEEP_LSE": 1}),
        (wide_attention_backward_queries, dict(constants)),
        (wide_attention_backward_keys, dict(constants)),
        (wide_attention_backward_tables, dict(constants)),
    ]


def list_wide_statistics(g: Geometry) -> list[tuple[triton.runtime.JITFunction, dict[str, int]]]:
    """Return kernel and constants of every launch for the statistics of such a call."""
    kernels = (wide_moments, wide_moments_backward, wide_line_grams, wide_line_grams_backward)
    return [(kernel, specialize_wide_statistics(g)) for kernel in kernels]
