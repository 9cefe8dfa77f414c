"""Launch the kernels of the batch statistics: tile sizes, outputs, and the small sums that follow a kernel."""

import torch
import triton
from torch import Tensor

from axial_deeplab.ops.layout import apply_affine
from axial_deeplab.ops.triton_local_moments import local_moments, local_moments_backward
from axial_deeplab.ops.triton_moments import global_moments, global_moments_backward, line_grams, line_grams_backward
from axial_deeplab.ops.triton_tiles import INTERPRETED, WARPS_WANTED, Geometry, describe_sizes
from axial_deeplab.ops.triton_wide_launch import launch_wide_statistics


def launch_statistics(qkv: Tensor, g: Geometry, affine: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return sum and sum of squares of the content term, float64 [2, head], and of queries and keys at every position the
    sums over all lines, float32 [2, length, head, dim], and the Gram matrices, [2, length, head, dim, dim].

    With `affine`, float32 [2, channel], they are those of `scale * x + shift`.
    """
    if g.has_wide_keys:
        return launch_wide_statistics(apply_affine(qkv, affine), g)
    pairs, size = g.num_lines * g.num_heads, g.num_heads * g.key_dim
    shares = g.num_heads * (g.key_dim if g.sees_all else 1)
    moments = torch.empty(2, g.num_lines, shares, dtype=torch.float32, device=qkv.device)
    given = (qkv, moments if affine is None else affine)
    normed = {"NORMED": affine is not None}
    if g.sees_all:
        grid = (g.num_lines * (size // _group_channels(g)),)
        global_moments[grid](*given, moments, *describe_sizes(g, 0), **tile_line_groups(g), **normed)
    else:
        local_moments[(pairs,)](*given, moments, *describe_sizes(g, 0), **tile_line(g), **normed)
    splits, constants = tile_lines(g)
    sums = moments.new_empty(splits, 2, g.length, g.num_heads, g.key_dim)
    grams = moments.new_empty(splits, 2, g.length, g.num_heads, g.key_dim, g.key_dim)
    grid = (splits * g.length * 2 * (size // _group_channels(g)),)
    line_grams[grid](*given, sums, grams, *describe_sizes(g, 0), splits, **constants, **normed)
    moments = moments.view(2, g.num_lines, g.num_heads, -1).sum((1, 3), dtype=torch.float64)
    return moments, sums.sum(0), grams.sum(0)


def launch_position_backward(
    qkv: Tensor, grad_sums: Tensor, grad_grams: Tensor, g: Geometry, affine: Tensor | None, grad_qkv: Tensor
) -> None:
    """Add the gradient of the sums and Gram matrices of `launch_statistics` to `grad_qkv`."""
    splits, constants = tile_lines(g, backward=True)
    programs = splits * g.length * 2 * (g.num_heads * g.key_dim // _group_channels(g))
    symmetric = (grad_grams + grad_grams.mT).contiguous()
    given = (qkv, symmetric if affine is None else affine, grad_sums.contiguous(), symmetric, grad_qkv)
    constants["NORMED"] = int(affine is not None)
    line_grams_backward[(programs,)](*given, *describe_sizes(g, 0), splits, **constants)


def launch_content_backward(
    qkv: Tensor, grad_moments: Tensor, g: Geometry, affine: Tensor | None, grad_qkv: Tensor
) -> None:
    """Add the gradient of the moments of the content term to `grad_qkv`."""
    grads = grad_moments.float()
    given = (qkv, grads if affine is None else affine, grads, grad_qkv, *describe_sizes(g, 0))
    normed = {"NORMED": int(affine is not None)}
    if g.sees_all:
        groups = g.num_heads * g.key_dim // _group_channels(g)
        global_moments_backward[(g.num_lines * groups,)](*given, **tile_line_groups(g), **normed)
    else:
        local_moments_backward[(g.num_lines * g.num_heads,)](*given, **tile_line(g), **normed)


def tile_line(g: Geometry) -> dict[str, int]:
    """Return the constants of the kernels that take one line and head: tiles of positions by channels."""
    block = min(64, max(16, triton.next_power_of_2(g.length)))
    constants = {"HEADS": g.num_heads, "D": g.key_dim, "E": g.value_dim, "BLOCK": block}
    constants["BD"] = max(16, triton.next_power_of_2(g.key_dim))
    return constants if INTERPRETED else constants | {"num_warps": 4 if block == 64 else 1}


def tile_line_groups(g: Geometry) -> dict[str, int]:
    """Return the constants of the kernels that take one line and several heads."""
    constants = {"HEADS": g.num_heads, "D": g.key_dim, "E": g.value_dim}
    constants["BLOCK"] = min(32, max(16, triton.next_power_of_2(g.length)))
    constants["BD"] = max(16, triton.next_power_of_2(_group_channels(g)))
    constants["GROUP"] = _group_channels(g) // g.key_dim
    return constants if INTERPRETED else constants | {"num_warps": 1}


def tile_lines(g: Geometry, *, backward: bool = False) -> tuple[int, dict[str, int]]:
    """Return among how many programs the lines are split, and the constants of the kernels that take one position."""
    programs = g.length * 2 * (g.num_heads * g.key_dim // _group_channels(g))
    block = 128 if backward else 64
    splits = max(1, min(triton.cdiv(g.num_lines, block), WARPS_WANTED // (4 * programs)))
    constants = {"HEADS": g.num_heads, "D": g.key_dim, "E": g.value_dim, "BLOCK": block}
    constants["BD"] = max(16, triton.next_power_of_2(_group_channels(g)))
    constants["GROUP"] = _group_channels(g) // g.key_dim
    return splits, constants if INTERPRETED else constants | {"num_warps": 2}


def _group_channels(g: Geometry) -> int:
    """Return how many channels, of whole heads, `line_grams` takes at once: 32 or 16 where heads fill them, else a head's."""
    for channels in (32, 16):
        if channels % g.key_dim == 0 and g.num_heads % (channels // g.key_dim) == 0:
            return channels
    return g.key_dim
