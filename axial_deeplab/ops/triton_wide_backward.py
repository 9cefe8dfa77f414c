"""The backward kernels for wide heads: the three passes of triton_backward.py over tiles, with the tiles of triton_wide.py.

queries   dq, the gradients of the three scales, Delta; a program owns `B` queries of one (line, head)
keys      dk, dv; a program owns `B` keys of one (line, head)
tables    the gradients of the table rows; a program owns the tiles whose first key lies as far from their first query
"""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_forward import SIZES, locate
from axial_deeplab.ops.triton_local_moments import load_tile, see
from axial_deeplab.ops.triton_memory import LOG2_E, make_zeros
from axial_deeplab.ops.triton_wide import compare, load_band, load_scales, multiply, shear, shear_back


@triton.jit
def fit(x, DTYPE: tl.constexpr):
    """Return `x` divided by a factor that makes it fit `DTYPE`, and the factor: float16 has no gradients below 1e-8."""
    factor = 1.0
    if DTYPE == tl.float16:
        factor = tl.maximum(tl.max(tl.max(tl.abs(x), 1), 0), 1e-30)
        x = x / factor
    return x, factor


@triton.jit
def load_positions(pointer, first, pairs, length, B: tl.constexpr):
    """Return one pair's `B` values of [length, pair] from position `first` on, zeros beyond the end."""
    position = first + tl.arange(0, B)
    return tl.load(pointer + position.to(tl.int64) * pairs, mask=position < length, other=0.0)


@triton.jit
def differentiate_tile(
    base,
    values,
    rows,
    grad_base,
    lse,
    delta,
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
    HEADS: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    HAS_VALUE: tl.constexpr,
    PITCH: tl.constexpr,
    B: tl.constexpr,
    C: tl.constexpr,
):
    """Return the weights of a tile, the gradients of its logits, and the three terms; each float32 [query, key].

    Args:
        base: As in `compare`.
        values: Pointer to the head's values at the first position of the line.
        grad_base: Pointer to the gradient of what the head retrieves there.
        lse: Of the tile's queries, [B].
        delta: The same.
    """
    D4: tl.constexpr = (D + 3) // 4 * 4
    x1, x2, x3 = compare(base, rows, o0, p0, step, length, reach, first_row, HEADS, D, HAS_QUERY, HAS_KEY, PITCH, B, C)
    x = (a1 * x1 + a2 * x2 + a3 * x3) * LOG2_E - lse[:, None]
    weight = tl.exp2(tl.where(see(o0, p0, length, reach, B), x, float("-inf")))
    grad = tl.zeros([B, B], tl.float32)
    band = tl.zeros([B, 2 * B], tl.float32)
    for c in tl.range(0, E, C, num_stages=1):
        v = load_tile(values + c, p0, step, length, E - c, B, C)
        grad = multiply(load_tile(grad_base + c, o0, out_step, length, E - c, B, C), tl.trans(v), grad)
        if HAS_VALUE:
            row = load_band(rows + (HAS_QUERY + HAS_KEY) * D4 + c, o0, p0, reach, first_row, E - c, PITCH, B, C)
            grad_position = load_tile(grad_base + HEADS * E + c, o0, out_step, length, E - c, B, C)
            band = multiply(grad_position, tl.trans(row.to(v.dtype)), band)
    if HAS_VALUE:
        grad += shear(band, 1, B)
    return weight, weight * (grad - delta[:, None]), x1, x2, x3


@triton.jit(do_not_specialize=SIZES)
def wide_attention_backward_queries(
    qkv,
    rows,
    scales,
    retrieved,
    lse,
    grad_retrieved,
    delta,
    grad_qkv,
    grad_scales,
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
):
    """Write the queries' part of `grad_qkv`, `delta` [length, pair], and `grad_scales` [3, pair, block], shares of the blocks.

    Arguments are those of the forward kernel; a gradient is laid out like its tensor. In float32 the program goes along the
    keys twice, first for Delta as the weighted mean of what it will be subtracted from: the product of outputs and their
    gradients has other rounding errors, and where one weight is almost 1 little else is left of the difference.
    """
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = (HAS_QUERY + HAS_KEY) * D4 + HAS_VALUE * E4
    IN: tl.constexpr = HEADS * (2 * D + E)
    OUT: tl.constexpr = (1 + HAS_VALUE) * HEADS * E
    DTYPE: tl.constexpr = qkv.dtype.element_ty
    EXACT: tl.constexpr = 1 if DTYPE == tl.float32 else 0
    num_blocks = tl.cdiv(length, B)
    o0 = tl.program_id(0) % num_blocks * B
    pair = tl.program_id(0) // num_blocks
    pairs = num_lines * HEADS
    head = pair % HEADS
    pixel = locate(pair // HEADS, inner, length)
    base = qkv + pixel * IN + head * D
    values = qkv + pixel * IN + 2 * HEADS * D + head * E
    out_base = pixel * OUT + head * E
    step = tl.cast(inner, tl.int64) * IN
    out_step = tl.cast(inner, tl.int64) * OUT
    a1, a2, a3 = load_scales(scales, head, HEADS, HAS_QUERY, HAS_KEY)
    o = o0 + tl.arange(0, B)
    delta_o = tl.zeros([B], tl.float32)
    if not EXACT:
        for part in tl.static_range(1 + HAS_VALUE):
            for start in tl.range(0, E, C, num_stages=1):
                at = out_base + part * HEADS * E + start
                out = load_tile(retrieved + at, o0, out_step, length, E - start, B, C).to(tl.float32)
                delta_o += tl.sum(out * load_tile(grad_retrieved + at, o0, out_step, length, E - start, B, C), 1)
    lse_o = load_positions(lse + pair, o0, pairs, length, B)
    total = tl.zeros([B], tl.float32)
    delta_sum = tl.zeros([B], tl.float32)
    grad_a1 = tl.zeros([B], tl.float32)
    grad_a2 = tl.zeros([B], tl.float32)
    grad_a3 = tl.zeros([B], tl.float32)
    sums = make_zeros((D + C - 1) // C, B, C)
    low = tl.maximum(o0 - reach, 0) // B * B
    for turn in tl.static_range(1 + EXACT):
        for p0 in tl.range(low, tl.minimum(o0 + B + reach, length), B, num_stages=1):
            weight, grad, x1, x2, x3 = differentiate_tile(
                base,
                values,
                rows,
                grad_retrieved + out_base,
                lse_o,
                delta_o,
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
            if turn < EXACT:
                total += tl.sum(weight, 1)
                delta_sum += tl.sum(grad, 1)
            else:
                grad_a1 += tl.sum(grad * x1, 1)
                grad_a2 += tl.sum(grad * x2, 1)
                grad_a3 += tl.sum(grad * x3, 1)
                grad, factor = fit(grad, DTYPE)
                band = shear_back(grad, 1, B).to(DTYPE)
                grad = grad.to(DTYPE)
                new_sums = ()
                for c in tl.static_range(0, D, C):
                    k = load_tile(base + HEADS * D + c, p0, step, length, D - c, B, C)
                    added = a1 * multiply(grad, k, tl.zeros([B, C], tl.float32))
                    if HAS_QUERY:
                        row = load_band(rows + c, o0, p0, reach, first_row, D - c, PITCH, B, C)
                        added += a2 * multiply(band, row.to(DTYPE), tl.zeros([B, C], tl.float32))
                    new_sums = new_sums + (sums[c // C] + factor * added,)
                sums = new_sums
        if turn < EXACT:
            delta_o = delta_sum / tl.maximum(total, 1e-37)
    tl.store(delta + o.to(tl.int64) * pairs + pair, delta_o, mask=o < length)
    out = grad_qkv + pixel * IN + head * D + o[:, None] * step
    for c in tl.static_range(0, D, C):
        channel = c + tl.arange(0, C)[None, :]
        tl.store(out + channel, sums[c // C].to(DTYPE), mask=(o < length)[:, None] & (channel < D))
    shares = tl.cast(pairs, tl.int64) * num_blocks
    tl.store(grad_scales + tl.program_id(0), tl.sum(grad_a1, 0))
    tl.store(grad_scales + shares + tl.program_id(0), tl.sum(grad_a2, 0))
    tl.store(grad_scales + 2 * shares + tl.program_id(0), tl.sum(grad_a3, 0))


@triton.jit(do_not_specialize=SIZES)
def wide_attention_backward_keys(
    qkv,
    rows,
    scales,
    lse,
    grad_retrieved,
    delta,
    grad_qkv,
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
):
    """Write the rest of `grad_qkv`. As in the pass over queries, with the roles exchanged."""
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = (HAS_QUERY + HAS_KEY) * D4 + HAS_VALUE * E4
    IN: tl.constexpr = HEADS * (2 * D + E)
    OUT: tl.constexpr = (1 + HAS_VALUE) * HEADS * E
    DTYPE: tl.constexpr = qkv.dtype.element_ty
    num_blocks = tl.cdiv(length, B)
    p0 = tl.program_id(0) % num_blocks * B
    pair = tl.program_id(0) // num_blocks
    pairs = num_lines * HEADS
    head = pair % HEADS
    pixel = locate(pair // HEADS, inner, length)
    base = qkv + pixel * IN + head * D
    values = qkv + pixel * IN + 2 * HEADS * D + head * E
    grad_base = grad_retrieved + pixel * OUT + head * E
    step = tl.cast(inner, tl.int64) * IN
    out_step = tl.cast(inner, tl.int64) * OUT
    a1, a2, a3 = load_scales(scales, head, HEADS, HAS_QUERY, HAS_KEY)
    sums = make_zeros((D + C - 1) // C, B, C)
    value_sums = make_zeros((E + C - 1) // C, B, C)
    low = tl.maximum(p0 - reach, 0) // B * B
    for o0 in tl.range(low, tl.minimum(p0 + B + reach, length), B, num_stages=1):
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
        weight = tl.trans(weight.to(DTYPE))  # [key, query]
        grad, factor = fit(tl.trans(grad), DTYPE)
        band = shear_back(grad, -1, B).to(DTYPE)
        grad = grad.to(DTYPE)
        new_sums = ()
        new_value_sums = ()
        for c in tl.static_range(0, D, C):
            q = load_tile(base + c, o0, step, length, D - c, B, C)
            added = a1 * multiply(grad, q, tl.zeros([B, C], tl.float32))
            if HAS_KEY:
                row = load_band(rows + HAS_QUERY * D4 + c, o0, p0, reach, first_row, D - c, PITCH, B, C)
                added += a3 * multiply(band, row.to(DTYPE), tl.zeros([B, C], tl.float32))
            new_sums = new_sums + (sums[c // C] + factor * added,)
        for c in tl.static_range(0, E, C):
            grad_content = load_tile(grad_base + c, o0, out_step, length, E - c, B, C)
            new_value_sums = new_value_sums + (multiply(weight, grad_content, value_sums[c // C]),)
        sums = new_sums
        value_sums = new_value_sums
    p = p0 + tl.arange(0, B)
    out = grad_qkv + pixel * IN + p[:, None] * step
    for c in tl.static_range(0, D, C):
        channel = c + tl.arange(0, C)[None, :]
        written = (p < length)[:, None] & (channel < D)
        tl.store(out + HEADS * D + head * D + channel, sums[c // C].to(DTYPE), mask=written)
    for c in tl.static_range(0, E, C):
        channel = c + tl.arange(0, C)[None, :]
        written = (p < length)[:, None] & (channel < E)
        tl.store(out + 2 * HEADS * D + head * E + channel, value_sums[c // C].to(DTYPE), mask=written)
