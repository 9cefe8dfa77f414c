"""Launch the attention kernels: tile sizes, padded tables, and the small sums that follow a kernel.

All tensors come packed, [outer, length, inner, channels], so that an axis of a channels-last map is attended to in place.
"""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from axial_deeplab.ops.triton_backward import (
    attention_backward_keys,
    attention_backward_queries,
    attention_backward_tables,
)
from axial_deeplab.ops.triton_forward import SIZES, attention_forward
from axial_deeplab.ops.triton_moments import (
    content_moments,
    content_moments_backward,
    line_grams,
    line_grams_backward,
)

INTERPRETED = not isinstance(attention_forward, triton.runtime.JITFunction)
"""bool: Whether the kernels run in Triton's interpreter, on the CPU."""

LANES = 32
MAX_KEY_DIM, MAX_VALUE_DIM = 32, 64


class Geometry(NamedTuple):
    """What a kernel has to know about the tensors of one call."""

    num_lines: int
    inner: int
    length: int
    reach: int
    num_heads: int
    key_dim: int
    value_dim: int
    terms: tuple[bool, bool, bool]  # query, key and value positions

    @property
    def pitch(self) -> int:
        """Floats from one table row to the next."""
        return sum(_round_up(dim, 4) for dim, on in zip(self.row_dims, self.terms, strict=True) if on)

    @property
    def row_dims(self) -> tuple[int, int, int]:
        return self.key_dim, self.key_dim, self.value_dim


class Tiles(NamedTuple):
    """How a pass is cut: queries (or keys) a thread, keys (or queries) at a time, warps a program."""

    kept: int
    at_once: int
    warps: int


def choose_tiles(key_dim: int, purpose: str) -> Tiles:
    """Return the tiles of a pass: as much as the registers hold, because rows and keys are shared by what a thread keeps."""
    small, medium, wide, widest = {
        "forward": (Tiles(2, 2, 1), Tiles(2, 2, 1), Tiles(1, 1, 4), Tiles(1, 1, 1)),
        "queries": (Tiles(4, 2, 1), Tiles(2, 2, 1), Tiles(1, 2, 1), Tiles(1, 1, 2)),
        "keys": (Tiles(4, 2, 1), Tiles(2, 2, 1), Tiles(1, 1, 4), Tiles(1, 1, 4)),
        "tables": (Tiles(4, 4, 1), Tiles(2, 4, 1), Tiles(1, 2, 1), Tiles(1, 1, 1)),
    }[purpose]
    return small if key_dim <= 4 else medium if key_dim <= 8 else wide if key_dim <= 16 else widest


def pack_rows(rows: tuple[Tensor | None, Tensor | None, Tensor | None], margin: int) -> Tensor:
    """Lay the rows of the tables side by side, each padded to four floats, with `margin` rows of zeros before and after."""
    parts = [
        torch.nn.functional.pad(row.float(), (0, _round_up(row.shape[1], 4) - row.shape[1], margin, margin))
        for row in rows
        if row is not None
    ]
    if not parts:
        return torch.zeros(4, device="cpu")  # never read
    return torch.cat(parts, dim=1)


def unpack_rows(packed: Tensor, geometry: Geometry) -> list[Tensor | None]:
    """Return the parts of [row, pitch] without padding; `None` for tables that are switched off."""
    parts: list[Tensor | None] = []
    start = 0
    for dim, on in zip(geometry.row_dims, geometry.terms, strict=True):
        parts.append(packed[:, start : start + dim] if on else None)
        start += _round_up(dim, 4) if on else 0
    return parts


def launch_forward(qkv: Tensor, packed_rows: Tensor, scales: Tensor, g: Geometry, margin: int) -> tuple[Tensor, Tensor]:
    """Return what is retrieved, and the log-sum-exp [length, pair]."""
    channels = (1 + g.terms[2]) * g.num_heads * g.value_dim
    retrieved = qkv.new_empty((*qkv.shape[:3], channels))
    lse = torch.empty(g.length, g.num_lines * g.num_heads, dtype=torch.float32, device=qkv.device)
    tiles = choose_tiles(g.key_dim, "forward")
    grid = (triton.cdiv(g.length, tiles.warps * tiles.kept) * triton.cdiv(lse.shape[1], LANES),)
    attention_forward[grid](
        qkv, packed_rows, scales, retrieved, lse, *_describe(g, margin), **_specialize(g, qkv.dtype, tiles)
    )
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
    """Return the gradients of `qkv`, of the rows [distance, pitch] and of the scales [3, head]."""
    given = (qkv, packed_rows, scales)
    grad_qkv, delta = torch.empty_like(qkv), torch.empty_like(lse)
    query_scales = launch_queries(given, (retrieved, lse, grad_retrieved, delta, grad_qkv), g, margin)
    key_scales = launch_keys(given, (lse, grad_retrieved, delta, grad_qkv), g, margin)
    partial = [part.view(len(part), -1, g.num_lines, g.num_heads).sum((1, 2)) for part in (query_scales, key_scales)]
    if not any(g.terms):
        return grad_qkv, lse.new_zeros(2 * g.reach + 1, 0), torch.cat(partial)
    grad_rows = launch_tables(given, (lse, grad_retrieved, delta), g, margin)
    return grad_qkv, grad_rows.sum(0)[: 2 * g.reach + 1], torch.cat(partial)


def launch_queries(given: tuple[Tensor, ...], saved: tuple[Tensor, ...], g: Geometry, margin: int) -> Tensor:
    """Fill `delta` and the queries of `grad_qkv`; return shares of the gradients of two scales, [2, group, pair]."""
    tiles = choose_tiles(g.key_dim, "queries")
    pairs = g.num_lines * g.num_heads
    shares = given[2].new_empty(2, triton.cdiv(g.length, tiles.kept), pairs)
    grid = (triton.cdiv(g.length, tiles.warps * tiles.kept) * triton.cdiv(pairs, LANES),)
    constants = _specialize(g, given[0].dtype, tiles)
    attention_backward_queries[grid](*given, *saved, shares, *_describe(g, margin), **constants)
    return shares


def launch_keys(given: tuple[Tensor, ...], saved: tuple[Tensor, ...], g: Geometry, margin: int) -> Tensor:
    """Fill the keys and values of `grad_qkv`; return shares of the gradient of the key term's scale, [1, group, pair]."""
    tiles = choose_tiles(g.key_dim, "keys")
    pairs = g.num_lines * g.num_heads
    shares = given[2].new_empty(1, triton.cdiv(g.length, tiles.kept), pairs)
    grid = (triton.cdiv(g.length, tiles.warps * tiles.kept) * triton.cdiv(pairs, LANES),)
    constants = _specialize(g, given[0].dtype, tiles)
    attention_backward_keys[grid](*given, *saved, shares, *_describe(g, margin), **constants)
    return shares


def launch_tables(given: tuple[Tensor, ...], saved: tuple[Tensor, ...], g: Geometry, margin: int) -> Tensor:
    """Return shares of the gradients of the table rows, [split, distance, pitch]; a few distances too many."""
    tiles = choose_tiles(g.key_dim, "tables")
    groups = triton.cdiv(2 * g.reach + 1, tiles.kept)
    splits = max(1, min(triton.cdiv(g.num_lines * g.num_heads, LANES), WARPS_WANTED // groups))
    shares = given[2].new_zeros(splits, groups * tiles.kept, g.pitch)
    constants = _specialize_tables(g, given[0].dtype, tiles)
    attention_backward_tables[(groups * splits,)](*given, *saved, shares, *_describe(g, margin), splits, **constants)
    return shares


def launch_statistics(qkv: Tensor, g: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """Return sum and sum of squares of the content term, float64 [2, head], and of queries and keys at every position the
    sums over all lines, float32 [2, length, head, dim], and the Gram matrices, [2, length, head, dim, dim]."""
    pairs, size = g.num_lines * g.num_heads, g.num_heads * g.key_dim
    moments = torch.empty(2, g.num_lines, g.num_heads, dtype=torch.float32, device=qkv.device)
    content_moments[(pairs,)](qkv, moments, *_describe(g, 0), **_tile_line(g))
    splits, constants = _tile_lines(g)
    sums = moments.new_empty(splits, 2, g.length, g.num_heads, g.key_dim)
    grams = moments.new_empty(splits, 2, g.length, g.num_heads, g.key_dim, g.key_dim)
    groups = size // _group_channels(g)
    line_grams[(splits * g.length * 2 * groups,)](qkv, sums, grams, *_describe(g, 0), splits, **constants)
    return moments.double().sum(1), sums.sum(0), grams.sum(0)


def launch_statistics_backward(
    qkv: Tensor, grad_moments: Tensor, grad_sums: Tensor, grad_grams: Tensor, g: Geometry
) -> Tensor:
    """Return the gradient of `qkv`; that of the values is zero."""
    grad_qkv = torch.zeros_like(qkv)
    splits, constants = _tile_lines(g)
    groups = g.num_heads * g.key_dim // _group_channels(g)
    symmetric = (grad_grams + grad_grams.mT).contiguous()
    line_grams_backward[(splits * g.length * 2 * groups,)](
        qkv, grad_sums.contiguous(), symmetric, grad_qkv, *_describe(g, 0), splits, **constants
    )
    pairs = g.num_lines * g.num_heads
    content_moments_backward[(pairs,)](qkv, grad_moments.float(), grad_qkv, *_describe(g, 0), **_tile_line(g))
    return grad_qkv


def _tile_line(g: Geometry) -> dict[str, int]:
    """Return the constants of the kernels that take one line and head: tiles of positions by channels."""
    block = min(64, max(16, triton.next_power_of_2(g.length)))
    constants = {"HEADS": g.num_heads, "D": g.key_dim, "E": g.value_dim, "BLOCK": block}
    constants["BD"] = max(16, triton.next_power_of_2(g.key_dim))
    return constants if INTERPRETED else constants | {"num_warps": 4 if block == 64 else 1}


def _tile_lines(g: Geometry) -> tuple[int, dict[str, int]]:
    """Return among how many programs the lines are split, and the constants of the kernels that take one position."""
    programs = g.length * 2 * (g.num_heads * g.key_dim // _group_channels(g))
    block = 64
    splits = max(1, min(triton.cdiv(g.num_lines, block), WARPS_WANTED // (4 * programs)))
    constants = {"HEADS": g.num_heads, "D": g.key_dim, "E": g.value_dim, "BLOCK": block}
    constants["BD"] = max(16, triton.next_power_of_2(_group_channels(g)))
    constants["GROUP"] = _group_channels(g) // g.key_dim
    return splits, constants if INTERPRETED else constants | {"num_warps": 4}


def _group_channels(g: Geometry) -> int:
    """Return how many channels, of whole heads, `line_grams` takes at once: 32 or 16 where heads fill them, else a head's."""
    for channels in (32, 16):
        if channels % g.key_dim == 0 and g.num_heads % (channels // g.key_dim) == 0:
            return channels
    return g.key_dim


WARPS_WANTED = 132 * 32
"""int: Warps among which sums over all lines are split; fixed, so that the order of the sums is."""


def compute_margin(key_dim: int) -> int:
    """Return how many rows of zeros the widest tile can touch beyond the distances in use."""
    passes = [choose_tiles(key_dim, purpose) for purpose in ("forward", "queries", "keys", "tables")]
    return max(tiles.warps * tiles.kept + tiles.at_once for tiles in passes) + 1


def _describe(g: Geometry, margin: int) -> tuple[int, int, int, int, int]:
    return g.num_lines, g.inner, g.length, g.reach, g.reach + margin


def _specialize(g: Geometry, dtype: torch.dtype, tiles: Tiles) -> dict[str, int]:
    """Return the compile-time constants of a launch."""
    per_word = 4 // dtype.itemsize
    constants = {
        "HEADS": g.num_heads,
        "D": g.key_dim,
        "E": g.value_dim,
        "HAS_QUERY": int(g.terms[0]),
        "HAS_KEY": int(g.terms[1]),
        "HAS_VALUE": int(g.terms[2]),
        "MASKED": int(g.reach < g.length - 1 or g.length % tiles.at_once != 0),
        "D_WORDS": _choose_words(g.key_dim, g, per_word),
        "E_WORDS": _choose_words(g.value_dim, g, per_word),
        "ROW_WORDS": 0 if INTERPRETED else 4,
        "OG": tiles.warps,
        "OT": tiles.kept,
        "BG": LANES,
        "CH": tiles.at_once,
    }
    return constants if INTERPRETED else constants | {"num_warps": tiles.warps}


def _specialize_tables(g: Geometry, dtype: torch.dtype, tiles: Tiles) -> dict[str, int]:
    """Return the compile-time constants of the pass over tables, which keeps distances and takes queries at once."""
    constants = _specialize(g, dtype, tiles)
    for name in ("OG", "CH", "MASKED"):
        del constants[name]
    return constants | {"OT": tiles.at_once, "CD": tiles.kept}


def _choose_words(dim: int, g: Geometry, per_word: int) -> int:
    """Return the widest access, in 32-bit words, at which a head's vectors are aligned wherever they begin."""
    if INTERPRETED:
        return 0
    starts = (dim, g.num_heads * g.key_dim, g.num_heads * (2 * g.key_dim + g.value_dim), g.num_heads * g.value_dim)
    for words in (4, 2, 1):
        if all(start % (words * per_word) == 0 for start in starts):
            return words
    return 0


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def list_kernels(key_dim: int, dtype: str) -> list[tuple[triton.runtime.JITFunction, dict[str, str], dict[str, int], int]]:
    """Return kernel, argument types, constants and warps of every launch for heads of `key_dim`, to compile ahead of time.

    Args:
        key_dim: Channels of a key; values have twice as many, in 8 heads with all terms.
        dtype: Of the maps, in Triton's spelling: "bf16", "fp16" or "fp32".
    """
    element = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]
    g = Geometry(64, 64, 65, 64, 8, key_dim, 2 * key_dim, (True, True, True))
    launches: list[tuple[triton.runtime.JITFunction, dict[str, int]]] = [
        (attention_forward, _specialize(g, element, choose_tiles(key_dim, "forward"))),
        (attention_backward_queries, _specialize(g, element, choose_tiles(key_dim, "queries"))),
        (attention_backward_keys, _specialize(g, element, choose_tiles(key_dim, "keys"))),
        (attention_backward_tables, _specialize_tables(g, element, choose_tiles(key_dim, "tables"))),
        (content_moments, _tile_line(g)),
        (content_moments_backward, _tile_line(g)),
        (line_grams, _tile_lines(g)[1]),
        (line_grams_backward, _tile_lines(g)[1]),
    ]
    maps = ("qkv", "retrieved", "grad_retrieved", "grad_qkv")
    sizes = (*SIZES, "splits")
    kernels = []
    for kernel, constants in launches:
        warps = constants.pop("num_warps", 1)
        signature = {
            name: "constexpr" if name in constants else f"*{dtype}" if name in maps else "i32" if name in sizes else "*fp32"
            for name in kernel.arg_names
        }
        kernels.append((kernel, signature, constants, warps))
    return kernels
