"""The backward kernels: three passes, each owning what it writes, so that nothing is added atomically and results repeat.

With `P = exp2(logit - lse)`, `dP = dcontent . v + dposition . rv` and `Delta = dcontent . content + dposition . position`, the
gradient of a logit is `dX = P (dP - Delta)`. Every pass recomputes it; no map of pairs is stored:

    queries   dq, the gradients of the scales of the content and query terms, Delta
    keys      dk, dv, the gradient of the scale of the key term, in triton_keys.py
    tables    the gradients of the table rows, in triton_tables.py
"""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_forward import SIZES, compute_logit, hide, load_rows, locate, take_if
from axial_deeplab.ops.triton_memory import (
    LOG2_E,
    add_dot,
    add_scaled,
    exp2,
    load_vector,
    make_zeros,
    scale_unless,
    scale_vector,
    store_vector,
    take,
)


@triton.jit
def begin(subtrahend, EXACT: tl.constexpr):
    """Return what an inner product starts from so that `end` gives it less `subtrahend`.

    To start from `-subtrahend` saves an addition, but every product is then rounded at its size: good enough for half
    precision only.
    """
    if EXACT:
        start = tl.zeros_like(subtrahend)
    else:
        start = -subtrahend
    return start


@triton.jit
def end(x, subtrahend, EXACT: tl.constexpr):
    """Return `x` less `subtrahend`, if `begin` has not seen to it."""
    if EXACT:
        x = x - subtrahend
    return x


@triton.jit(do_not_specialize=SIZES)
def attention_backward_queries(
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
    MASKED: tl.constexpr,
    D_WORDS: tl.constexpr,
    E_WORDS: tl.constexpr,
    ROW_WORDS: tl.constexpr,
    OG: tl.constexpr,
    OT: tl.constexpr,
    BG: tl.constexpr,
    CH: tl.constexpr,
):
    """Write the queries' part of `grad_qkv`, `delta` [length, pair] and, for `OT` queries each, `grad_scales` [2, group, pair].

    Arguments are those of the forward kernel; a gradient is laid out like its tensor. In float32 `delta` is [2, length, pair]:
    after it comes what the log-sum-exp lacks.
    """
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = HAS_QUERY * D4 + HAS_KEY * D4 + HAS_VALUE * E4
    NROW: tl.constexpr = CH + OT - 1
    IN: tl.constexpr = HEADS * (2 * D + E)
    OUT: tl.constexpr = (1 + HAS_VALUE) * HEADS * E
    EXACT: tl.constexpr = qkv.dtype.element_ty == tl.float32
    num_groups = tl.cdiv(length, OG * OT)
    pid_o = tl.program_id(0) % num_groups
    g = tl.program_id(0) // num_groups * BG + tl.arange(0, BG)
    num_pairs = num_lines * HEADS
    line = tl.minimum(g // HEADS, num_lines - 1)
    head = g % HEADS
    pixel = locate(line, inner, length)
    q_offset = (pixel * IN + head * D)[None, :]
    v_offset = (pixel * IN + 2 * HEADS * D + head * E)[None, :]
    out_offset = (pixel * OUT + head * E)[None, :]
    step = tl.cast(inner, tl.int64) * IN
    out_step = tl.cast(inner, tl.int64) * OUT
    valid = (g < num_pairs)[None, :]
    group = pid_o * OG + tl.arange(0, OG)
    first = pid_o * OG * OT
    o0 = (group * OT)[:, None]
    a1 = tl.load(scales + head)[None, :]
    a2 = tl.load(scales + HEADS + head)[None, :]
    a3 = tl.load(scales + 2 * HEADS + head)[None, :] * LOG2_E
    q1 = ()
    q2 = ()
    grad_c = ()
    grad_p = ()
    offset = ()
    deltas = ()
    for i in tl.static_range(OT):
        clamped = tl.minimum(o0 + i, length - 1)
        q_i = load_vector(qkv + q_offset + clamped * step, D, D_WORDS)
        q1 = q1 + scale_unless(q_i, a1 * LOG2_E, EXACT, D)
        q2 = q2 + scale_unless(q_i, a2 * LOG2_E, EXACT, D)
        out = out_offset + clamped * out_step
        grad_i = load_vector(grad_retrieved + out, E, E_WORDS)
        grad_c = grad_c + grad_i
        delta_i = add_dot(tl.zeros([OG, BG], tl.float32), grad_i, load_vector(retrieved + out, E, E_WORDS), E)
        if HAS_VALUE:
            grad_i = load_vector(grad_retrieved + out + HEADS * E, E, E_WORDS)
            grad_p = grad_p + grad_i
            delta_i = add_dot(delta_i, grad_i, load_vector(retrieved + out + HEADS * E, E, E_WORDS), E)
        deltas = deltas + (delta_i,)
        at = (o0 + i).to(tl.int64) * num_pairs + g[None, :]
        written = valid & (o0 + i < length)
        if not EXACT:
            tl.store(delta + at, delta_i, mask=written)
        offset = offset + (tl.load(lse + at, mask=written, other=float("inf")),)
    sums = make_zeros(OT * D, OG, BG)
    psums = make_zeros(OT * D, OG, BG)
    # Of the weights and the gradients; weighted sums of keys and query rows. Unused unless EXACT.
    total = make_zeros(OT, OG, BG)
    surplus = make_zeros(OT, OG, BG)
    means = make_zeros(OT * D, OG, BG)
    pmeans = make_zeros(OT * D, OG, BG)
    low = tl.maximum(first - reach, 0)
    high = tl.minimum(first + OG * OT + reach, length)
    for p0 in range(low, high, CH):
        row = rows + (p0 - o0 - (OT - 1) + first_row) * PITCH
        query_row = ()
        key_row = ()
        value_row = ()
        if HAS_QUERY:
            query_row = load_rows(row, NROW, PITCH, D, D4, ROW_WORDS)
        if HAS_KEY:
            key_row = load_rows(row + HAS_QUERY * D4, NROW, PITCH, D, D4, ROW_WORDS)
        if HAS_VALUE:
            value_row = load_rows(row + (HAS_QUERY + HAS_KEY) * D4, NROW, PITCH, E, E4, ROW_WORDS)
        for c in tl.static_range(CH):
            p = p0 + c
            if MASKED:
                p = tl.minimum(p, length - 1)
            k_c = load_vector(qkv + HEADS * D + q_offset + p * step, D, D_WORDS)
            v_c = load_vector(qkv + v_offset + p * step, E, E_WORDS)
            k3 = scale_unless(k_c, a3, EXACT, D)
            new_sums = ()
            new_psums = ()
            new_total = ()
            new_surplus = ()
            new_means = ()
            new_pmeans = ()
            for i in tl.static_range(OT):
                x = compute_logit(
                    begin(offset[i], EXACT),
                    take(q1, i * D, D),
                    take(q2, i * D, D),
                    k_c,
                    k3,
                    take_if(query_row, (c - i + OT - 1) * D, D, HAS_QUERY),
                    take_if(key_row, (c - i + OT - 1) * D, D, HAS_KEY),
                    a1 * LOG2_E,
                    a2 * LOG2_E,
                    a3,
                    HAS_QUERY,
                    HAS_KEY,
                    EXACT,
                    D,
                )
                x = end(x, offset[i], EXACT)
                x = hide(x, p0 + c - o0 - i, p0 + c, length, reach, MASKED)
                grad = add_dot(begin(deltas[i], EXACT), take(grad_c, i * E, E), v_c, E)
                if HAS_VALUE:
                    grad = add_dot(grad, take(grad_p, i * E, E), take(value_row, (c - i + OT - 1) * E, E), E)
                weight = exp2(x, ROW_WORDS)
                grad = end(grad, deltas[i], EXACT) * weight
                new_sums = new_sums + add_scaled(take(sums, i * D, D), grad, k_c, D)
                if HAS_QUERY:
                    new_psums = new_psums + add_scaled(
                        take(psums, i * D, D), grad, take(query_row, (c - i + OT - 1) * D, D), D
                    )
                if EXACT:
                    new_total = new_total + (total[i] + weight,)
                    new_surplus = new_surplus + (surplus[i] + grad,)
                    new_means = new_means + add_scaled(take(means, i * D, D), weight, k_c, D)
                    if HAS_QUERY:
                        new_pmeans = new_pmeans + add_scaled(
                            take(pmeans, i * D, D), weight, take(query_row, (c - i + OT - 1) * D, D), D
                        )
            sums = new_sums
            if HAS_QUERY:
                psums = new_psums
            if EXACT:
                total = new_total
                surplus = new_surplus
                means = new_means
                if HAS_QUERY:
                    pmeans = new_pmeans
    if EXACT:
        new_sums = ()
        new_psums = ()
        for i in tl.static_range(OT):
            inverse = 1.0 / tl.maximum(total[i], 1e-37)
            rest = surplus[i] * inverse
            at = (o0 + i).to(tl.int64) * num_pairs + g[None, :]
            written = valid & (o0 + i < length)
            tl.store(delta + at, deltas[i] + rest, mask=written)
            tl.store(delta + at + tl.cast(length, tl.int64) * num_pairs, -tl.log2(inverse), mask=written)
            corrected = add_scaled(take(sums, i * D, D), -rest, take(means, i * D, D), D)
            new_sums = new_sums + scale_vector(corrected, inverse, D)
            corrected = add_scaled(take(psums, i * D, D), -rest, take(pmeans, i * D, D), D)
            new_psums = new_psums + scale_vector(corrected, inverse, D)
        sums = new_sums
        psums = new_psums
    grad_a1 = tl.zeros([OG, BG], tl.float32)
    grad_a2 = tl.zeros([OG, BG], tl.float32)
    for i in tl.static_range(OT):
        q_i = load_vector(qkv + q_offset + tl.minimum(o0 + i, length - 1) * step, D, D_WORDS)
        grad_a1 = add_dot(grad_a1, q_i, take(sums, i * D, D), D)
        grad_a2 = add_dot(grad_a2, q_i, take(psums, i * D, D), D)
        result = ()
        for j in tl.static_range(D):
            result = result + (a1 * sums[i * D + j] + a2 * psums[i * D + j],)
        written = valid & (o0 + i < length)
        store_vector(grad_qkv + q_offset + (o0 + i) * step, result, 0, D, written, D_WORDS)
    at = grad_scales + group[:, None].to(tl.int64) * num_pairs + g[None, :]
    tl.store(at, grad_a1, mask=valid & (o0 < length))
    tl.store(at + tl.cdiv(length, OT).to(tl.int64) * num_pairs, grad_a2, mask=valid & (o0 < length))
