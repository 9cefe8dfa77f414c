"""The forward kernel for wide heads, and the tiles that it shares with the backward kernels: products of matrices.

A thread has no registers for a wide head, so here a program takes `B` neighboring queries of one (line, head), goes along the
keys, `B` at a time, and multiplies tiles, `C` channels at a time. The pairs of a tile have `2 * B - 1` distances. Queries times
the table rows of these give a band [query, distance]; to *shear* it is to move each row by one more column than the row before,
which puts every distance at its key:

    distance  -2 -1  0  1  2  .          key  p0 p1 p2
    query o0   .  .  a  b  c  .    ->          a  b  c
    query o1   .  d  e  f  .  .                d  e  f
    query o2   g  h  i  .  .  .                g  h  i
"""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_forward import SIZES, locate
from axial_deeplab.ops.triton_local_moments import load_tile, see
from axial_deeplab.ops.triton_memory import LOG2_E, make_zeros


@triton.jit
def multiply(x, y, total):
    """Return `total + x @ y`, float32; both factors have one type."""
    return tl.dot(x, y, total, input_precision="ieee")


@triton.jit
def load_band(rows, o0, p0, reach, first_row, DIM, PITCH: tl.constexpr, B: tl.constexpr, C: tl.constexpr):
    """Return [2 * B, C]: `DIM` channels of the rows that queries from `o0` and keys from `p0` meet, zeros elsewhere.

    Ascending distance, beginning with that of the last query and the first key.
    """
    distance = p0 - o0 - (B - 1) + tl.arange(0, 2 * B)
    channel = tl.arange(0, C)
    used = ((distance <= reach) & (distance >= -reach))[:, None] & (channel < DIM)[None, :]
    return tl.load(rows + (first_row + distance)[:, None] * PITCH + channel[None, :], mask=used, other=0.0)


@triton.jit
def shear(band, SIGN: tl.constexpr, B: tl.constexpr):
    """Turn [query, 2 * B distances] into [query, key]; with `SIGN` -1 [key, 2 * B distances] into [key, query]."""
    i = tl.arange(0, B)[:, None]
    j = tl.arange(0, B)[None, :]
    return tl.gather(band, SIGN * (j - i) + (B - 1), 1)


@triton.jit
def shear_back(tile, SIGN: tl.constexpr, B: tl.constexpr):
    """Turn [query, key] into [query, 2 * B distances], zeros where a distance leaves the tile; `SIGN` as in `shear`."""
    i = tl.arange(0, B)[:, None]
    distance = tl.arange(0, 2 * B)[None, :] - (B - 1)
    j = i + SIGN * distance
    inside = (j >= 0) & (j < B)
    return tl.where(inside, tl.gather(tile, tl.where(inside, j, 0), 1), 0.0)


@triton.jit
def compare(
    base,
    rows,
    o0,
    p0,
    step,
    length,
    reach,
    first_row,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    PITCH: tl.constexpr,
    B: tl.constexpr,
    C: tl.constexpr,
):
    """Return the content, query and key terms of a tile, unscaled, each float32 [query, key]; zeros for one switched off.

    Args:
        base: Pointer to a head's queries at the first position of a line.
        o0: First query of the tile.
        p0: First key of the tile.
        step: Elements from one position to the next.
    """
    D4: tl.constexpr = (D + 3) // 4 * 4
    content = tl.zeros([B, B], tl.float32)
    query_term = tl.zeros([B, B], tl.float32)
    key_term = tl.zeros([B, B], tl.float32)
    query_band = tl.zeros([B, 2 * B], tl.float32)
    key_band = tl.zeros([B, 2 * B], tl.float32)
    for c in tl.range(0, D, C, num_stages=1):
        q = load_tile(base + c, o0, step, length, D - c, B, C)
        k = load_tile(base + HEADS * D + c, p0, step, length, D - c, B, C)
        content = multiply(q, tl.trans(k), content)
        if HAS_QUERY:
            row = load_band(rows + c, o0, p0, reach, first_row, D - c, PITCH, B, C)
            query_band = multiply(q, tl.trans(row.to(q.dtype)), query_band)
        if HAS_KEY:
            row = load_band(rows + HAS_QUERY * D4 + c, o0, p0, reach, first_row, D - c, PITCH, B, C)
            key_band = multiply(k, tl.trans(row.to(k.dtype)), key_band)
    if HAS_QUERY:
        query_term = shear(query_band, 1, B)
    if HAS_KEY:
        key_term = tl.trans(shear(key_band, -1, B))
    return content, query_term, key_term


@triton.jit
def load_scales(scales, head, HEADS: tl.constexpr, HAS_QUERY: tl.constexpr, HAS_KEY: tl.constexpr):
    """Return the scales of the three terms of a head; 0 for one switched off."""
    a1 = tl.load(scales + head)
    a2 = 0.0
    a3 = 0.0
    if HAS_QUERY:
        a2 = tl.load(scales + HEADS + head)
    if HAS_KEY:
        a3 = tl.load(scales + 2 * HEADS + head)
    return a1, a2, a3


@triton.jit(do_not_specialize=SIZES)
def wide_attention_forward(
    qkv,
    rows,
    scales,
    retrieved,
    lse,
    num_lines,
    inner,
    length,
    reach,
    first_row,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    HAS_VALUE: tl.constexpr,
    B: tl.constexpr,
    C: tl.constexpr,
    KEEP_LSE: tl.constexpr,
):
    """Write what `B` queries of one line and head retrieve, and with `KEEP_LSE` the base-2 log-sum-exp of their logits.

    Arguments are those of `attention_forward`, but that no rows beyond `reach` need exist.
    """
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = (HAS_QUERY + HAS_KEY) * D4 + HAS_VALUE * E4
    IN: tl.constexpr = HEADS * (2 * D + E)
    OUT: tl.constexpr = (1 + HAS_VALUE) * HEADS * E
    num_blocks = tl.cdiv(length, B)
    o0 = tl.program_id(0) % num_blocks * B
    pair = tl.program_id(0) // num_blocks
    head = pair % HEADS
    pixel = locate(pair // HEADS, inner, length)
    base = qkv + pixel * IN + head * D
    values = qkv + pixel * IN + 2 * HEADS * D + head * E
    step = tl.cast(inner, tl.int64) * IN
    a1, a2, a3 = load_scales(scales, head, HEADS, HAS_QUERY, HAS_KEY)
    best = tl.full([B], -1e30, tl.float32)
    total = tl.zeros([B], tl.float32)
    content = make_zeros((E + C - 1) // C, B, C)
    position = make_zeros((E + C - 1) // C, B, C)
    low = tl.maximum(o0 - reach, 0) // B * B
    for p0 in tl.range(low, tl.minimum(o0 + B + reach, length), B, num_stages=1):
        x1, x2, x3 = compare(
            base, rows, o0, p0, step, length, reach, first_row, HEADS, D, HAS_QUERY, HAS_KEY, PITCH, B, C
        )
        x = (a1 * x1 + a2 * x2 + a3 * x3) * LOG2_E
        x = tl.where(see(o0, p0, length, reach, B), x, float("-inf"))
        top = tl.maximum(best, tl.max(x, 1))
        fade = tl.exp2(best - top)
        weight = tl.exp2(x - top[:, None])
        best = top
        total = total * fade + tl.sum(weight, 1)
        band = shear_back(weight, 1, B).to(qkv.dtype.element_ty)
        weight = weight.to(qkv.dtype.element_ty)
        new_content = ()
        new_position = ()
        for c in tl.static_range(0, E, C):
            v = load_tile(values + c, p0, step, length, E - c, B, C)
            new_content = new_content + (multiply(weight, v, content[c // C] * fade[:, None]),)
            if HAS_VALUE:
                at = rows + (HAS_QUERY + HAS_KEY) * D4 + c
                row = load_band(at, o0, p0, reach, first_row, E - c, PITCH, B, C)
                new_position = new_position + (multiply(band, row.to(v.dtype), position[c // C] * fade[:, None]),)
        content = new_content
        if HAS_VALUE:
            position = new_position
    inverse = 1.0 / tl.maximum(total, 1e-37)  # queries beyond the end have seen nothing
    o = o0 + tl.arange(0, B)
    out = retrieved + pixel * OUT + head * E + o[:, None] * (tl.cast(inner, tl.int64) * OUT)
    for c in tl.static_range(0, E, C):
        channel = c + tl.arange(0, C)[None, :]
        written = (o < length)[:, None] & (channel < E)
        tl.store(out + channel, (content[c // C] * inverse[:, None]).to(out.dtype.element_ty), mask=written)
        if HAS_VALUE:
            result = position[c // C] * inverse[:, None]
            tl.store(out + HEADS * E + channel, result.to(out.dtype.element_ty), mask=written)
    if KEEP_LSE:
        at = lse + o.to(tl.int64) * (num_lines * HEADS) + pair
        tl.store(at, best - tl.log2(inverse), mask=o < length)
