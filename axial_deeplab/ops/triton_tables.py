"""The third backward pass: gradients of the table rows. A thread owns some distances and walks along all pairs that have them.

What it computes is explained in triton_backward.py. Lanes are (line, head) pairs again; at the end a warp adds up its lanes,
and one row of partial sums is left for each share of the pairs.
"""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_backward import begin, end
from axial_deeplab.ops.triton_forward import SIZES, compute_logit, load_rows, locate, take_if
from axial_deeplab.ops.triton_memory import (
    LOG2_E,
    add_dot,
    add_scaled,
    exp2,
    load_vector,
    make_zeros,
    scale_vector,
    take,
)


@triton.jit(do_not_specialize=(*SIZES, "splits"))
def attention_backward_tables(
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
    D_WORDS: tl.constexpr,
    E_WORDS: tl.constexpr,
    ROW_WORDS: tl.constexpr,
    OT: tl.constexpr,
    BG: tl.constexpr,
    CD: tl.constexpr,
):
    """Write `grad_rows` [split, distance, PITCH]: the gradients of the rows of `CD` distances, from a share of the pairs.

    Distances begin with `-reach`; the last group may reach beyond `reach`, where nothing useful is written.
    """
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = HAS_QUERY * D4 + HAS_KEY * D4 + HAS_VALUE * E4
    KEYS: tl.constexpr = OT + CD - 1
    IN: tl.constexpr = HEADS * (2 * D + E)
    OUT: tl.constexpr = (1 + HAS_VALUE) * HEADS * E
    EXACT: tl.constexpr = qkv.dtype.element_ty == tl.float32
    num_groups = tl.cdiv(2 * reach + 1, CD)
    group = tl.program_id(0) % num_groups
    split = tl.program_id(0) // num_groups
    t0 = group * CD - reach
    num_pairs = num_lines * HEADS
    step = tl.cast(inner, tl.int64) * IN
    out_step = tl.cast(inner, tl.int64) * OUT
    low = tl.maximum(0, -(t0 + CD - 1))
    high = tl.minimum(length, length - t0)
    row = rows + (t0 + first_row) * PITCH
    dq_sums = make_zeros(CD * D, 1, BG)
    dk_sums = make_zeros(CD * D, 1, BG)
    dv_sums = make_zeros(CD * E, 1, BG)
    for block in range(split, tl.cdiv(num_pairs, BG), splits):
        g = block * BG + tl.arange(0, BG)
        line = tl.minimum(g // HEADS, num_lines - 1)
        head = g % HEADS
        pixel = locate(line, inner, length)
        q_offset = (pixel * IN + head * D)[None, :]
        v_offset = (pixel * IN + 2 * HEADS * D + head * E)[None, :]
        out_offset = (pixel * OUT + head * E)[None, :]
        valid = (g < num_pairs)[None, :]
        a1 = tl.load(scales + head)[None, :] * LOG2_E
        a2 = tl.load(scales + HEADS + head)[None, :] * LOG2_E
        a3 = tl.load(scales + 2 * HEADS + head)[None, :] * LOG2_E
        for o0 in range(low, high, OT):
            query_row = ()
            key_row = ()
            value_row = ()
            if HAS_QUERY:
                query_row = load_rows(row, CD, PITCH, D, D4, ROW_WORDS)
            if HAS_KEY:
                key_row = load_rows(row + HAS_QUERY * D4, CD, PITCH, D, D4, ROW_WORDS)
            if HAS_VALUE:
                value_row = load_rows(row + (HAS_QUERY + HAS_KEY) * D4, CD, PITCH, E, E4, ROW_WORDS)
            keys = ()
            values = ()
            for c in tl.static_range(KEYS):
                p = tl.minimum(tl.maximum(o0 + t0 + c, 0), length - 1)
                keys = keys + load_vector(qkv + HEADS * D + q_offset + p * step, D, D_WORDS)
                values = values + load_vector(qkv + v_offset + p * step, E, E_WORDS)
            for c in tl.static_range(OT):
                o = tl.minimum(o0 + c, length - 1)
                q_c = load_vector(qkv + q_offset + o * step, D, D_WORDS)
                q1 = scale_vector(q_c, a1, D)
                q2 = scale_vector(q_c, a2, D)
                out = out_offset + o * out_step
                grad_c = load_vector(grad_retrieved + out, E, E_WORDS)
                grad_p = ()
                if HAS_VALUE:
                    grad_p = load_vector(grad_retrieved + out + HEADS * E, E, E_WORDS)
                at = o.to(tl.int64) * num_pairs + g[None, :]
                lse_c = tl.load(lse + at, mask=valid & (o0 + c < length), other=float("inf"))
                delta_c = tl.load(delta + at, mask=valid, other=0.0)
                if EXACT:
                    rest_c = tl.load(delta + at + tl.cast(length, tl.int64) * num_pairs, mask=valid, other=0.0)
                new_dq = ()
                new_dk = ()
                new_dv = ()
                for i in tl.static_range(CD):
                    p = o0 + c + t0 + i
                    if EXACT:
                        x = compute_logit(
                            tl.zeros([1, BG], tl.float32),
                            q_c,
                            q_c,
                            take(keys, (c + i) * D, D),
                            take(keys, (c + i) * D, D),
                            take_if(query_row, i * D, D, HAS_QUERY),
                            take_if(key_row, i * D, D, HAS_KEY),
                            a1,
                            a2,
                            a3,
                            HAS_QUERY,
                            HAS_KEY,
                            EXACT,
                            D,
                        )
                        x = x - lse_c - rest_c
                    else:
                        x = add_dot(-lse_c, q1, take(keys, (c + i) * D, D), D)
                        if HAS_QUERY:
                            x = add_dot(x, q2, take(query_row, i * D, D), D)
                        if HAS_KEY:
                            x += a3 * add_dot(
                                tl.zeros([1, BG], tl.float32), take(key_row, i * D, D), take(keys, (c + i) * D, D), D
                            )
                    weight = exp2(tl.where((p >= 0) & (p < length), x, float("-inf")), ROW_WORDS)
                    grad = add_dot(begin(delta_c, EXACT), grad_c, take(values, (c + i) * E, E), E)
                    if HAS_VALUE:
                        grad = add_dot(grad, grad_p, take(value_row, i * E, E), E)
                    grad = end(grad, delta_c, EXACT) * weight
                    if HAS_QUERY:
                        new_dq = new_dq + add_scaled(take(dq_sums, i * D, D), grad, q2, D)
                    if HAS_KEY:
                        new_dk = new_dk + add_scaled(take(dk_sums, i * D, D), grad * a3, take(keys, (c + i) * D, D), D)
                    if HAS_VALUE:
                        new_dv = new_dv + add_scaled(take(dv_sums, i * E, E), weight, grad_p, E)
                if HAS_QUERY:
                    dq_sums = new_dq
                if HAS_KEY:
                    dk_sums = new_dk
                if HAS_VALUE:
                    dv_sums = new_dv
    target = grad_rows + (split * num_groups + group).to(tl.int64) * (CD * PITCH) + tl.arange(0, 1)
    LN_2: tl.constexpr = 0.6931471805599453  # the scales carried a factor log2(e)
    for i in tl.static_range(CD):
        if HAS_QUERY:
            for j in tl.static_range(D):
                tl.store(target + i * PITCH + j, tl.sum(dq_sums[i * D + j], 1) * LN_2)
        if HAS_KEY:
            for j in tl.static_range(D):
                tl.store(target + i * PITCH + HAS_QUERY * D4 + j, tl.sum(dk_sums[i * D + j], 1) * LN_2)
        if HAS_VALUE:
            for j in tl.static_range(E):
                tl.store(target + i * PITCH + (HAS_QUERY + HAS_KEY) * D4 + j, tl.sum(dv_sums[i * E + j], 1))
