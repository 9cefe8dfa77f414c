"""The third backward pass for wide heads: gradients of the table rows. A program owns a diagonal of tiles.

The tiles of a diagonal have their first key equally far from their first query, hence the same `2 * B - 1` distances. What the
passes compute is explained in triton_wide_backward.py.
"""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_forward import SIZES, locate
from axial_deeplab.ops.triton_local_moments import load_tile
from axial_deeplab.ops.triton_memory import make_zeros
from axial_deeplab.ops.triton_wide import load_scales, multiply, shear_back
from axial_deeplab.ops.triton_wide_backward import differentiate_tile, fit, load_positions


@triton.jit(do_not_specialize=(*SIZES, "splits"))
def wide_attention_backward_tables(
    qkv,
    rows,
    scales,
    lse,
    grad_retrieved,
    delta,
    grad_rows,
    num_lines,
    inner,
    length,
    reach,
    first_row,
    splits,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    HAS_VALUE: tl.constexpr,
    B: tl.constexpr,
    C: tl.constexpr,
):
    """Write `grad_rows` [split, 2, 2 * reach + 1, PITCH]: gradients of the rows of `2 * B` distances, of a share of the pairs.

    Distances ascend from `-reach`. Neighboring diagonals have distances in common, so that the even ones write to the first of
    two shares, the odd ones to the second.
    """
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = (HAS_QUERY + HAS_KEY) * D4 + HAS_VALUE * E4
    IN: tl.constexpr = HEADS * (2 * D + E)
    OUT: tl.constexpr = (1 + HAS_VALUE) * HEADS * E
    DTYPE: tl.constexpr = qkv.dtype.element_ty
    farthest = tl.cdiv(reach, B)
    num_diagonals = 2 * farthest + 1
    diagonal = tl.program_id(0) % num_diagonals
    split = tl.program_id(0) // num_diagonals
    offset = (diagonal - farthest) * B
    pairs = num_lines * HEADS
    step = tl.cast(inner, tl.int64) * IN
    out_step = tl.cast(inner, tl.int64) * OUT
    query_sums = make_zeros((D + C - 1) // C, 2 * B, C)
    key_sums = make_zeros((D + C - 1) // C, 2 * B, C)
    value_sums = make_zeros((E + C - 1) // C, 2 * B, C)
    for pair in tl.range(split, pairs, splits, num_stages=1):
        head = pair % HEADS
        pixel = locate(pair // HEADS, inner, length)
        base = qkv + pixel * IN + head * D
        values = qkv + pixel * IN + 2 * HEADS * D + head * E
        grad_base = grad_retrieved + pixel * OUT + head * E
        a1, a2, a3 = load_scales(scales, head, HEADS, HAS_QUERY, HAS_KEY)
        for o0 in tl.range(tl.maximum(-offset, 0), tl.minimum(length - offset, length), B, num_stages=1):
            p0 = o0 + offset
            weight, grad, _, _, _ = differentiate_tile(
                base,
                values,
                rows,
                grad_base,
                load_positions(lse + pair, o0, pairs, length, B),
                load_positions(delta + pair, o0, pairs, length, B),
                a1,
                a2,
                a3,
                o0,
                p0,
                step,
                out_step,
                length,
                reach,
                first_row,
                HEADS,
                D,
                E,
                HAS_QUERY,
                HAS_KEY,
                HAS_VALUE,
                PITCH,
                B,
                C,
            )
            grad, factor = fit(grad, DTYPE)
            query_band = tl.trans(shear_back(grad, 1, B).to(DTYPE))  # [distance, query]
            key_band = tl.trans(shear_back(tl.trans(grad), -1, B).to(DTYPE))  # [distance, key]
            value_band = tl.trans(shear_back(weight, 1, B).to(DTYPE))
            new_query_sums = ()
            new_key_sums = ()
            new_value_sums = ()
            for c in tl.static_range(0, D, C):
                if HAS_QUERY:
                    q = load_tile(base + c, o0, step, length, D - c, B, C)
                    added = multiply(query_band, q, tl.zeros([2 * B, C], tl.float32))
                    new_query_sums = new_query_sums + (query_sums[c // C] + a2 * factor * added,)
                if HAS_KEY:
                    k = load_tile(base + HEADS * D + c, p0, step, length, D - c, B, C)
                    added = multiply(key_band, k, tl.zeros([2 * B, C], tl.float32))
                    new_key_sums = new_key_sums + (key_sums[c // C] + a3 * factor * added,)
            if HAS_VALUE:
                for c in tl.static_range(0, E, C):
                    grad_position = load_tile(grad_base + HEADS * E + c, o0, out_step, length, E - c, B, C)
                    new_value_sums = new_value_sums + (multiply(value_band, grad_position, value_sums[c // C]),)
            if HAS_QUERY:
                query_sums = new_query_sums
            if HAS_KEY:
                key_sums = new_key_sums
            if HAS_VALUE:
                value_sums = new_value_sums
    distance = offset - (B - 1) + tl.arange(0, 2 * B)
    share = (split * 2 + diagonal % 2).to(tl.int64) * (2 * reach + 1) * PITCH
    out = grad_rows + share + (distance + reach)[:, None] * PITCH
    used = ((distance <= reach) & (distance >= -reach))[:, None]
    for c in tl.static_range(0, D, C):
        channel = c + tl.arange(0, C)[None, :]
        if HAS_QUERY:
            tl.store(out + channel, query_sums[c // C], mask=used & (channel < D))
        if HAS_KEY:
            tl.store(out + HAS_QUERY * D4 + channel, key_sums[c // C], mask=used & (channel < D))
    if HAS_VALUE:
        for c in tl.static_range(0, E, C):
            channel = c + tl.arange(0, C)[None, :]
            tl.store(out + (HAS_QUERY + HAS_KEY) * D4 + channel, value_sums[c // C], mask=used & (channel < E))
