"""The forward kernel: attention of one axis with a running softmax, no logit ever leaves the registers.

A program takes `OG * OT` neighboring queries of `BG` (line, head) pairs. Lanes are pairs, warps are query groups, and each
thread keeps `OT` queries. All lanes of a warp then meet the same table rows, so a row is one broadcast load, and nothing is
exchanged between threads.
"""

import triton
import triton.language as tl

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

SIZES = ("num_lines", "inner", "length", "reach", "first_row")
"""tuple: Arguments whose values the compiler must not build in: one kernel serves images of all sizes."""


@triton.jit
def locate(line, inner, length):
    """Return the pixel at which a line begins in [outer, length, inner] order, int64; its pixels are `inner` apart."""
    return (line // inner).to(tl.int64) * length * inner + line % inner


@triton.jit
def compute_logit(
    start,
    q1,
    q2,
    k,
    k3,
    query_row,
    key_row,
    a1,
    a2,
    a3,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    EXACT: tl.constexpr,
    D: tl.constexpr,
):
    """Return `start` plus the logit of a query and a key that meet through a table row.

    `q1`, `q2` and `k3` have been scaled, unless `EXACT`: then each term is summed apart and scaled afterwards, so that only
    three roundings, not one for every channel, have the size of the sum.
    """
    if EXACT:
        x = start + a1 * add_dot(tl.zeros_like(start), q1, k, D)
        if HAS_QUERY:
            x += a2 * add_dot(tl.zeros_like(start), q2, query_row, D)
        if HAS_KEY:
            x += a3 * add_dot(tl.zeros_like(start), k3, key_row, D)
    else:
        x = add_dot(start, q1, k, D)
        if HAS_QUERY:
            x = add_dot(x, q2, query_row, D)
        if HAS_KEY:
            x = add_dot(x, k3, key_row, D)
    return x


@triton.jit
def take_if(a, A: tl.constexpr, N: tl.constexpr, ON: tl.constexpr):
    """Return `a[A : A + N]`, or nothing."""
    part = ()
    if ON:
        part = take(a, A, N)
    return part


@triton.jit
def hide(x, distance, position, length, reach, MASKED: tl.constexpr):
    """Return logits `x`, minus infinity where the distance or the position, which all lanes share, is out of bounds."""
    if MASKED == 1:
        x = tl.where(position < length, x, float("-inf"))
    elif MASKED == 2:
        seen = (distance <= reach) & (distance >= -reach) & (position < length)
        x = tl.where(seen, x, float("-inf"))
    return x


@triton.jit
def load_rows(
    base, COUNT: tl.constexpr, PITCH: tl.constexpr, N: tl.constexpr, N4: tl.constexpr, ROW_WORDS: tl.constexpr
):
    """Return `COUNT` consecutive table rows as one tuple, `N` values each (of `N4`, with padding)."""
    rows = ()
    for j in tl.static_range(COUNT):
        row = load_vector(base + j * PITCH, N4, ROW_WORDS)
        for i in tl.static_range(N):
            rows = rows + (row[i],)
    return rows


@triton.jit(do_not_specialize=SIZES)
def attention_forward(
    qkv,
    rows,
    scales,
    merge,
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
    MASKED: tl.constexpr,
    D_WORDS: tl.constexpr,
    E_WORDS: tl.constexpr,
    ROW_WORDS: tl.constexpr,
    OG: tl.constexpr,
    OT: tl.constexpr,
    BG: tl.constexpr,
    CH: tl.constexpr,
    KEEP_LSE: tl.constexpr,
    MERGE: tl.constexpr,
    RELU: tl.constexpr,
):
    """Write what the queries retrieve, and with `KEEP_LSE` the base-2 log-sum-exp of their scaled logits.

    Args:
        qkv: [outer, length, inner, HEADS * (2 * D + E)]: the queries of all heads, then the keys, then the values.
        rows: float32, for every distance the query, key and value row side by side, each padded to a multiple of four.
        scales: float32 [3, head], of the content, query and key term.
        merge: float32 [2, channels], scale and shift of every channel that is retrieved; with `MERGE` only.
        retrieved: [outer, length, inner, HEADS * E], or twice that with `HAS_VALUE`: content, then position; with `MERGE` their
            sum, behind a ReLU with `RELU`.
        lse: float32 [length, num_lines * HEADS].
        num_lines: outer * inner.
        first_row: Row of distance 0 in `rows`; rows for `OG * OT + CH` more distances than `reach` exist at both ends.
        MASKED: What a tile can hold beside what is seen: 0 nothing, 1 positions beyond the end, 2 those beyond `reach` too.
    """
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = HAS_QUERY * D4 + HAS_KEY * D4 + HAS_VALUE * E4
    NROW: tl.constexpr = CH + OT - 1
    IN: tl.constexpr = HEADS * (2 * D + E)
    PARTS: tl.constexpr = 1 + HAS_VALUE
    OUT: tl.constexpr = HEADS * E if MERGE else PARTS * HEADS * E
    EXACT: tl.constexpr = qkv.dtype.element_ty == tl.float32
    num_groups = tl.cdiv(length, OG * OT)
    pid_o = tl.program_id(0) % num_groups
    g = tl.program_id(0) // num_groups * BG + tl.arange(0, BG)
    num_pairs = num_lines * HEADS
    line = tl.minimum(g // HEADS, num_lines - 1)
    head = g % HEADS
    pixel = locate(line, inner, length)
    q_base = (qkv + pixel * IN + head * D)[None, :]
    k_base = q_base + HEADS * D
    v_base = (qkv + pixel * IN + 2 * HEADS * D + head * E)[None, :]
    out_base = (retrieved + pixel * OUT + head * E)[None, :]
    step = tl.cast(inner, tl.int64) * IN
    out_step = tl.cast(inner, tl.int64) * OUT
    valid = (g < num_pairs)[None, :]
    first = pid_o * OG * OT
    o0 = (first + tl.arange(0, OG) * OT)[:, None]
    a1 = tl.load(scales + head)[None, :] * LOG2_E
    a2 = tl.load(scales + HEADS + head)[None, :] * LOG2_E
    a3 = tl.load(scales + 2 * HEADS + head)[None, :] * LOG2_E
    q1 = ()
    q2 = ()
    best = ()
    total = ()
    for i in tl.static_range(OT):
        q_i = load_vector(q_base + tl.minimum(o0 + i, length - 1) * step, D, D_WORDS)
        q1 = q1 + scale_unless(q_i, a1, EXACT, D)
        q2 = q2 + scale_unless(q_i, a2, EXACT, D)
        best = best + (tl.full([OG, BG], -1e30, tl.float32),)
        total = total + (tl.zeros([OG, BG], tl.float32),)
    sums = make_zeros(OT * E, OG, BG)
    psums = make_zeros(OT * E, OG, BG)
    low = tl.maximum(first - reach, 0)
    high = tl.minimum(first + OG * OT + reach, length)
    for p0 in range(low, high, CH):
        row = rows + (p0 - o0 - (OT - 1) + first_row) * PITCH
        query_row = ()
        key_row = ()
        if HAS_QUERY:
            query_row = load_rows(row, NROW, PITCH, D, D4, ROW_WORDS)
        if HAS_KEY:
            key_row = load_rows(row + HAS_QUERY * D4, NROW, PITCH, D, D4, ROW_WORDS)
        logits = ()
        for c in tl.static_range(CH):
            p = p0 + c
            if MASKED:
                p = tl.minimum(p, length - 1)
            k_c = load_vector(k_base + p * step, D, D_WORDS)
            k3 = scale_unless(k_c, a3, EXACT, D)
            for i in tl.static_range(OT):
                x = tl.zeros([OG, BG], tl.float32)
                x = compute_logit(
                    x,
                    take(q1, i * D, D),
                    take(q2, i * D, D),
                    k_c,
                    k3,
                    take_if(query_row, (c - i + OT - 1) * D, D, HAS_QUERY),
                    take_if(key_row, (c - i + OT - 1) * D, D, HAS_KEY),
                    a1,
                    a2,
                    a3,
                    HAS_QUERY,
                    HAS_KEY,
                    EXACT,
                    D,
                )
                x = hide(x, p0 + c - o0 - i, p0 + c, length, reach, MASKED)
                logits = logits + (x,)
        value_row = ()
        if HAS_VALUE:
            value_row = load_rows(row + (HAS_QUERY + HAS_KEY) * D4, NROW, PITCH, E, E4, ROW_WORDS)
        new_best = ()
        new_total = ()
        new_sums = ()
        new_psums = ()
        for i in tl.static_range(OT):
            top = best[i]
            for c in tl.static_range(CH):
                top = tl.maximum(top, logits[c * OT + i])
            fade = exp2(best[i] - top, ROW_WORDS)
            new_best = new_best + (top,)
            new_total = new_total + (total[i] * fade,)
            for j in tl.static_range(E):
                new_sums = new_sums + (sums[i * E + j] * fade,)
                new_psums = new_psums + (psums[i * E + j] * fade,)
        best = new_best
        total = new_total
        sums = new_sums
        psums = new_psums
        for c in tl.static_range(CH):
            p = p0 + c
            if MASKED:
                p = tl.minimum(p, length - 1)
            v_c = load_vector(v_base + p * step, E, E_WORDS)
            new_total = ()
            new_sums = ()
            new_psums = ()
            for i in tl.static_range(OT):
                weight = exp2(logits[c * OT + i] - best[i], ROW_WORDS)
                new_total = new_total + (total[i] + weight,)
                new_sums = new_sums + add_scaled(take(sums, i * E, E), weight, v_c, E)
                if HAS_VALUE:
                    new_psums = new_psums + add_scaled(
                        take(psums, i * E, E), weight, take(value_row, (c - i + OT - 1) * E, E), E
                    )
            total = new_total
            sums = new_sums
            if HAS_VALUE:
                psums = new_psums
    for i in tl.static_range(OT):
        o = o0 + i
        written = valid & (o < length)
        inverse = 1.0 / tl.maximum(total[i], 1e-37)  # queries beyond the end may have seen nothing
        out = out_base + o * out_step
        result = ()
        for j in tl.static_range(E):
            value = sums[i * E + j] * inverse
            if MERGE:
                at = merge + head * E + j
                value = value * tl.load(at)[None, :] + tl.load(at + PARTS * HEADS * E)[None, :]
                if HAS_VALUE:
                    position = psums[i * E + j] * inverse
                    value += position * tl.load(at + HEADS * E)[None, :] + tl.load(at + 3 * HEADS * E)[None, :]
                if RELU:
                    value = tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL)
            result = result + (value,)
        store_vector(out, result, 0, E, written, E_WORDS)
        if HAS_VALUE and not MERGE:
            result = ()
            for j in tl.static_range(E):
                result = result + (psums[i * E + j] * inverse,)
            store_vector(out + HEADS * E, result, 0, E, written, E_WORDS)
        if KEEP_LSE:
            tl.store(lse + o.to(tl.int64) * num_pairs + g[None, :], best[i] - tl.log2(inverse), mask=written)
