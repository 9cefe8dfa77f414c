"""The packed layout: queries, keys and values of all heads side by side in the channels of a map.

`[outer, length, inner, channels]` is a channels-last map seen along one of its axes: a line is one (outer, inner), and its
positions are `inner` pixels apart. Along the width `inner` is 1, along the height the width; nothing is copied for either.
"""

from typing import Any

import torch
from torch import Tensor

from axial_deeplab.ops.batch_norm import can_fuse
from axial_deeplab.ops.normalize_batch import normalize_batch


def pack_heads(*parts: Tensor) -> Tensor:
    """Turn tensors [line, head, length, dim] into one [line, length, 1, sum of head * dim]."""
    return torch.cat([part.transpose(1, 2).flatten(2) for part in parts], dim=2).unsqueeze(2)


def unpack_heads(packed: Tensor, num_heads: int, dims: list[int]) -> tuple[Tensor, ...]:
    """Turn [outer, length, inner, channels] into tensors [outer * inner, head, length, dim], one for each of `dims`."""
    lines = packed.transpose(1, 2).flatten(0, 1)  # [line, length, channels]
    parts = lines.split([num_heads * dim for dim in dims], dim=2)
    return tuple(part.unflatten(2, (num_heads, -1)).transpose(1, 2) for part in parts)


def restore_lines(lines: Tensor, packed: Tensor) -> Tensor:
    """Turn [line, length, 1, channels] into the [outer, length, inner, channels] that `packed` has."""
    outer, length, inner, _ = packed.shape
    return lines.view(outer, inner, length, lines.shape[-1]).transpose(1, 2)


def apply_affine(qkv: Tensor, affine: Tensor | None) -> Tensor:
    """Return `scale * x + shift` in the type of `qkv`, or `qkv` itself without `affine`."""
    if affine is None:
        return qkv
    rows = qkv.flatten(0, -2)
    if can_fuse(rows):
        return _scale_and_shift(rows, affine, relu=False, add_halves=False).view(qkv.shape)
    return (qkv.float() * affine[0] + affine[1]).to(qkv.dtype)


def merge_plainly(retrieved: Tensor, merge: Any, *, add_halves: bool) -> Tensor:
    """Do in plain operations what a kernel does at its end; `merge` is a `triton_tiles.Merge`."""
    rows = retrieved.flatten(0, -2)
    if can_fuse(rows):
        out = _scale_and_shift(rows, merge.affine, relu=merge.relu, add_halves=add_halves)
        return out.view(*retrieved.shape[:-1], out.shape[-1])
    out = retrieved.float() * merge.affine[0] + merge.affine[1]
    if add_halves:
        first, second = out.chunk(2, dim=-1)
        out = first + second
    return (out.relu_() if merge.relu else out).to(retrieved.dtype)


def _scale_and_shift(rows: Tensor, affine: Tensor, *, relu: bool, add_halves: bool) -> Tensor:
    """Do it for [row, channel] on a GPU, in one pass."""
    zero, one = torch.zeros_like(affine[0]), torch.ones_like(affine[0])
    return normalize_batch(rows, affine[0], affine[1], zero, one, None, relu, add_halves)
