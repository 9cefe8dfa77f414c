"""Launch the attention kernels: grids, outputs, and the small sums that follow a kernel.

All tensors come packed, [outer, length, inner, channels], so that an axis of a channels-last map is attended to in place.
"""

import torch
import triton
from torch import Tensor

from axial_deeplab.ops.layout import merge_plainly
from axial_deeplab.ops.triton_backward import attention_backward_queries
from axial_deeplab.ops.triton_forward import SIZES, attention_forward
from axial_deeplab.ops.triton_keys import attention_backward_keys
from axial_deeplab.ops.triton_local_moments import local_moments, local_moments_backward
from axial_deeplab.ops.triton_moments import global_moments, global_moments_backward, line_grams, line_grams_backward
from axial_deeplab.ops.triton_statistics import tile_line, tile_line_groups, tile_lines
from axial_deeplab.ops.triton_tables import attention_backward_tables
from axial_deeplab.ops.triton_tiles import (
    LANES,
    WARPS_WANTED,
    Geometry,
    Merge,
    choose_tiles,
    describe_sizes,
    specialize,
    specialize_tables,
)
from axial_deeplab.ops.triton_wide_launch import (
    launch_wide_backward,
    launch_wide_forward,
    list_wide_kernels,
    list_wide_statistics,
)


def align(x: Tensor) -> Tensor:
    """Return `x` contiguous and beginning at a multiple of 16 bytes, as wide loads need it; copied only if it is not."""
    x = x.contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()


def launch_forward(
    qkv: Tensor,
    packed_rows: Tensor,
    scales: Tensor,
    g: Geometry,
    margin: int,
    *,
    keep_lse: bool = True,
    merge: Merge | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what is retrieved, and the log-sum-exp [length, pair], which is [0, pair] unless it is kept."""
    if g.is_wide:
        retrieved, lse = launch_wide_forward(qkv, packed_rows, scales, g, margin, keep_lse=keep_lse)
        return (retrieved if merge is None else merge_plainly(retrieved, merge, add_halves=g.terms[2])), lse
    retrieved = qkv.new_empty((*qkv.shape[:3], g.count_outputs(merge)))
    length = g.length if keep_lse else 0
    lse = torch.empty(length, g.num_lines * g.num_heads, dtype=torch.float32, device=qkv.device)
    tiles = choose_tiles(g.width, "forward")
    ending = {"MERGE": int(merge is not None), "RELU": int(merge is not None and merge.relu)}
    constants = specialize(g, qkv.dtype, tiles) | {"KEEP_LSE": int(keep_lse)} | ending
    given = (qkv, packed_rows, scales, scales if merge is None else merge.affine)
    grid = (triton.cdiv(g.length, tiles.warps * tiles.kept) * triton.cdiv(lse.shape[1], LANES),)
    attention_forward[grid](*given, retrieved, lse, *describe_sizes(g, margin), **constants)
    return retrieved, lse


def launch_backward(
    qkv: Tensor,
    packed_rows: Tensor,
    scales: Tensor,
    retrieved: Tensor,
    lse: Tensor,
    grad_retrieved: Tensor,
    g: Geometry,
    margin: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of `qkv`, shares of the rows' [share, distance, pitch], and those of the scales [3, head]."""
    given = (qkv, packed_rows, scales)
    if g.is_wide:
        return launch_wide_backward(given, retrieved, lse, grad_retrieved, g, margin)
    grad_qkv = torch.empty_like(qkv)
    delta = lse.new_empty((1 + (qkv.dtype == torch.float32), *lse.shape))  # float32 corrects the log-sum-exp as well
    query_scales = launch_queries(given, (retrieved, lse, grad_retrieved, delta, grad_qkv), g, margin)
    key_scales = launch_keys(given, (lse, grad_retrieved, delta, grad_qkv), g, margin)
    partial = [part.view(len(part), -1, g.num_lines, g.num_heads).sum((1, 2)) for part in (query_scales, key_scales)]
    if not any(g.terms):
        return grad_qkv, lse.new_zeros(1, 2 * g.reach + 1, 0), torch.cat(partial)
    return grad_qkv, launch_tables(given, (lse, grad_retrieved, delta), g, margin), torch.cat(partial)


def launch_queries(given: tuple[Tensor, ...], saved: tuple[Tensor, ...], g: Geometry, margin: int) -> Tensor:
    """Fill `delta` and the queries of `grad_qkv`; return shares of the gradients of two scales, [2, group, pair]."""
    tiles = choose_tiles(g.width, "queries")
    pairs = g.num_lines * g.num_heads
    shares = given[2].new_empty(2, triton.cdiv(g.length, tiles.kept), pairs)
    grid = (triton.cdiv(g.length, tiles.warps * tiles.kept) * triton.cdiv(pairs, LANES),)
    constants = specialize(g, given[0].dtype, tiles)
    attention_backward_queries[grid](*given, *saved, shares, *describe_sizes(g, margin), **constants)
    return shares


def launch_keys(given: tuple[Tensor, ...], saved: tuple[Tensor, ...], g: Geometry, margin: int) -> Tensor:
    """Fill the keys and values of `grad_qkv`; return shares of the gradient of the key term's scale, [1, group, pair]."""
    tiles = choose_tiles(g.width, "keys")
    pairs = g.num_lines * g.num_heads
    shares = given[2].new_empty(1, triton.cdiv(g.length, tiles.kept), pairs)
    grid = (triton.cdiv(g.length, tiles.warps * tiles.kept) * triton.cdiv(pairs, LANES),)
    constants = specialize(g, given[0].dtype, tiles)
    attention_backward_keys[grid](*given, *saved, shares, *describe_sizes(g, margin), **constants)
    return shares


def launch_tables(given: tuple[Tensor, ...], saved: tuple[Tensor, ...], g: Geometry, margin: int) -> Tensor:
    """Return shares of the gradients of the table rows, [split, distance, pitch]; a few distances too many."""
    tiles = choose_tiles(g.width, "tables")
    groups = triton.cdiv(2 * g.reach + 1, tiles.kept)
    splits = max(1, min(triton.cdiv(g.num_lines * g.num_heads, LANES), WARPS_WANTED // groups))
    shares = given[2].new_zeros(splits, groups * tiles.kept, g.pitch)
    constants = specialize_tables(g, given[0].dtype, tiles)
    attention_backward_tables[(groups * splits,)](
        *given, *saved, shares, *describe_sizes(g, margin), splits, **constants
    )
    return shares


def list_kernels(
    g: Geometry, dtype: str
) -> list[tuple[triton.runtime.JITFunction, dict[str, str], dict[str, int], int]]:
    """Return kernel, argument types, constants and warps of every launch for such a call, to compile ahead of time.

    Args:
        g: The call.
        dtype: Of the maps, in Triton's spelling: "bf16", "fp16" or "fp32".
    """
    element = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]
    attention: list[tuple[triton.runtime.JITFunction, dict[str, int]]] = [
        (
            attention_forward,
            specialize(g, element, choose_tiles(g.width, "forward")) | {"KEEP_LSE": 1, "MERGE": 0, "RELU": 0},
        ),
        (attention_backward_queries, specialize(g, element, choose_tiles(g.width, "queries"))),
        (attention_backward_keys, specialize(g, element, choose_tiles(g.width, "keys"))),
        (attention_backward_tables, specialize_tables(g, element, choose_tiles(g.width, "tables"))),
    ]
    statistics: list[tuple[triton.runtime.JITFunction, dict[str, int]]] = [
        (global_moments, tile_line_groups(g) | {"NORMED": 1}),
        (global_moments_backward, tile_line_groups(g) | {"NORMED": 1}),
        (local_moments, tile_line(g) | {"NORMED": 1}),
        (local_moments_backward, tile_line(g) | {"NORMED": 1}),
        (line_grams, tile_lines(g)[1] | {"NORMED": 1}),
        (line_grams_backward, tile_lines(g, backward=True)[1] | {"NORMED": 1}),
    ]
    launches = list_wide_kernels(g, element) if g.is_wide else attention
    launches += list_wide_statistics(g) if g.has_wide_keys else statistics
    maps = ("qkv", "retrieved", "grad_retrieved", "grad_qkv")
    sizes = (*SIZES, "splits")
    kernels = []
    for kernel, constants in launches:
        warps = constants.pop("num_warps", 1)
        signature = {
            name: "constexpr"
            if name in constants
            else f"*{dtype}"
            if name in maps
            else "i32"
            if name in sizes
            else "*fp32"
            for name in kernel.arg_names
        }
        kernels.append((kernel, signature, constants, warps))
    return kernels
