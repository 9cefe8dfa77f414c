"""The second backward pass: gradients of keys and values. What it computes is explained in triton_backward.py."""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_backward import begin, end
from axial_deeplab.ops.triton_forward import SIZES, compute_logit, hide, load_rows, locate, take_if
from axial_deeplab.ops.triton_memory import (
    LOG2_E,
    add_dot,
    add_scaled,
    exp2,
    load_vector,
    make_zeros,
    scale_unless,
    store_vector,
    take,
)


@triton.jit(do_not_specialize=SIZES)
def attention_backward_keys(
    qkv,
    rows,
    scales,
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
    """Write the rest of `grad_qkv` and, for each group of `OT` keys, `grad_scales` [group, pair] of the key term.

    As in the pass over queries, with the roles exchanged: a thread keeps `OT` keys, and `CH` queries come at a time.
    """
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = HAS_QUERY * D4 + HAS_KEY * D4 + HAS_VALUE * E4
    NROW: tl.constexpr = CH + OT - 1
    IN: tl.constexpr = HEADS * (2 * D + E)
    OUT: tl.constexpr = (1 + HAS_VALUE) * HEADS * E
    EXACT: tl.constexpr = qkv.dtype.element_ty == tl.float32
    num_groups = tl.cdiv(length, OG * OT)
    pid_p = tl.program_id(0) % num_groups
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
    group = pid_p * OG + tl.arange(0, OG)
    first = pid_p * OG * OT
    p0 = (group * OT)[:, None]
    a1 = tl.load(scales + head)[None, :]
    a2 = tl.load(scales + HEADS + head)[None, :] * LOG2_E
    a3 = tl.load(scales + 2 * HEADS + head)[None, :]
    keys = ()
    k3 = ()
    values = ()
    for i in tl.static_range(OT):
        clamped = tl.minimum(p0 + i, length - 1)
        k_i = load_vector(qkv + HEADS * D + q_offset + clamped * step, D, D_WORDS)
        keys = keys + k_i
        k3 = k3 + scale_unless(k_i, a3 * LOG2_E, EXACT, D)
        values = values + load_vector(qkv + v_offset + clamped * step, E, E_WORDS)
    sums = make_zeros(OT * D, OG, BG)
    psums = make_zeros(OT * D, OG, BG)
    vsums = make_zeros(OT * E, OG, BG)
    low = tl.maximum(first - reach, 0)
    high = tl.minimum(first + OG * OT + reach, length)
    for o0 in range(low, high, CH):
        # Key i and query c of a tile meet through row i - c + CH - 1 of the window.
        row = rows + (p0 - o0 - (CH - 1) + first_row) * PITCH
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
            o = o0 + c
            if MASKED:
                o = tl.minimum(o, length - 1)
            q_c = load_vector(qkv + q_offset + o * step, D, D_WORDS)
            q1 = scale_unless(q_c, a1 * LOG2_E, EXACT, D)
            q2 = scale_unless(q_c, a2, EXACT, D)
            out = out_offset + o * out_step
            grad_c = load_vector(grad_retrieved + out, E, E_WORDS)
            grad_p = ()
            if HAS_VALUE:
                grad_p = load_vector(grad_retrieved + out + HEADS * E, E, E_WORDS)
            at = o.to(tl.int64) * num_pairs + g[None, :]
            lse_c = tl.load(lse + at, mask=valid, other=float("inf"))
            delta_c = tl.load(delta + at, mask=valid, other=0.0)
            if EXACT:
                rest_c = tl.load(delta + at + tl.cast(length, tl.int64) * num_pairs, mask=valid, other=0.0)
            new_sums = ()
            new_psums = ()
            new_vsums = ()
            for i in tl.static_range(OT):
                x = compute_logit(
                    begin(tl.broadcast_to(lse_c, [OG, BG]), EXACT),
                    q1,
                    q2,
                    take(keys, i * D, D),
                    take(k3, i * D, D),
                    take_if(query_row, (i - c + CH - 1) * D, D, HAS_QUERY),
                    take_if(key_row, (i - c + CH - 1) * D, D, HAS_KEY),
                    a1 * LOG2_E,
                    a2,
                    a3 * LOG2_E,
                    HAS_QUERY,
                    HAS_KEY,
                    EXACT,
                    D,
                )
                x = end(x, lse_c, EXACT)
                if EXACT:
                    x -= rest_c
                x = hide(x, p0 + i - o0 - c, o0 + c, length, reach, MASKED)
                weight = exp2(x, ROW_WORDS)
                grad = add_dot(begin(tl.broadcast_to(delta_c, [OG, BG]), EXACT), grad_c, take(values, i * E, E), E)
                if HAS_VALUE:
                    grad = add_dot(grad, grad_p, take(value_row, (i - c + CH - 1) * E, E), E)
                grad = end(grad, delta_c, EXACT) * weight
                new_sums = new_sums + add_scaled(take(sums, i * D, D), grad, q_c, D)
                if HAS_KEY:
                    new_psums = new_psums + add_scaled(
                        take(psums, i * D, D), grad, take(key_row, (i - c + CH - 1) * D, D), D
                    )
                new_vsums = new_vsums + add_scaled(take(vsums, i * E, E), weight, grad_c, E)
            sums = new_sums
            if HAS_KEY:
                psums = new_psums
            vsums = new_vsums
    grad_a3 = tl.zeros([OG, BG], tl.float32)
    for i in tl.static_range(OT):
        written = valid & (p0 + i < length)
        result = ()
        for j in tl.static_range(D):
            grad_a3 += tl.where(p0 + i < length, keys[i * D + j] * psums[i * D + j], 0.0)
            result = result + (a1 * sums[i * D + j] + a3 * psums[i * D + j],)
        store_vector(grad_qkv + HEADS * D + q_offset + (p0 + i) * step, result, 0, D, written, D_WORDS)
        store_vector(grad_qkv + v_offset + (p0 + i) * step, vsums, i * E, E, written, E_WORDS)
    at = grad_scales + group[:, None].to(tl.int64) * num_pairs + g[None, :]
    tl.store(at, grad_a3, mask=valid & (p0 < length))
