"""From sums over queries and keys to the scales of the similarity norm, and back: small matrices, so few launches matter.

Kernels for one position `o` of one table, where `s` and `S` sum `r` and `r r^T` over the table rows that it meets. With `q`
and `Q` the sums of a head's queries (for the key table: keys) at that position over all lines, and of their outer products, a
head's term sums to `s.q` over the position's pairs, and its square to `<S, Q>`. Source of the formulas: docs/kernels.md.
"""

import triton
import triton.language as tl

SIZES = ("length", "reach", "num_rows")


@triton.jit
def find_window(o, which, length, reach):
    """Return the smallest and the largest distance that a position meets as a query (0) or as a key (1)."""
    before, after = tl.minimum(reach, o), tl.minimum(reach, length - 1 - o)
    is_query = which == 0
    return -tl.where(is_query, before, after), tl.where(is_query, after, before)


@triton.jit(do_not_specialize=SIZES)
def meet_rows(
    query_table,
    key_table,
    sums,
    grams,
    rows_met,
    products_met,
    shares,
    length,
    reach,
    num_rows,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    D2: tl.constexpr,
    B: tl.constexpr,
):
    """Write `s` [2, length, D], `S` [2, length, D, D], and the two sums of every head, [2, 2, length, HEADS].

    Args:
        query_table: [num_rows, D], or anything where it is switched off.
        key_table: The same.
        sums: [2, length, HEADS, D] of queries, then keys.
        grams: [2, length, HEADS, D, D].
        rows_met: Receives `s`.
        products_met: Receives `S`.
        shares: Receives the sums.
        length: Positions on the axis.
        reach: How far a query sees.
        num_rows: Rows of a table.
    """
    o, which = tl.program_id(0), tl.program_id(1)
    if (which == 0 and HAS_QUERY) or (which == 1 and HAS_KEY):
        low, high = find_window(o, which, length, reach)
        i = tl.arange(0, D2)
        on = i < D
        row_sum = tl.zeros([D2], tl.float32)
        product_sum = tl.zeros([D2, D2], tl.float32)
        middle = (num_rows - 1) // 2
        for first in range(low, high + 1, B):
            distance = first + tl.arange(0, B)
            row = tl.minimum(tl.maximum(distance, -middle), middle) + middle
            at = row[:, None] * D + i[None, :]
            inside = (distance <= high)[:, None] & on[None, :]
            if which == 0:
                r = tl.load(query_table + at, mask=inside, other=0.0).to(tl.float32)
            else:
                r = tl.load(key_table + at, mask=inside, other=0.0).to(tl.float32)
            row_sum += tl.sum(r, 0)
            product_sum += tl.sum(r[:, :, None] * r[:, None, :], 0)
        here = which * length + o
        square = i[:, None] * D + i[None, :]
        both = on[:, None] & on[None, :]
        tl.store(rows_met + here * D + i, row_sum, mask=on)
        tl.store(products_met + here * D * D + square, product_sum, mask=both)
        for head in range(HEADS):
            x = tl.load(sums + (here * HEADS + head) * D + i, mask=on, other=0.0)
            gram = tl.load(grams + (here * HEADS + head) * D * D + square, mask=both, other=0.0)
            tl.store(shares + (which * 2 * length + o) * HEADS + head, tl.sum(row_sum * x, 0))
            tl.store(shares + ((which * 2 + 1) * length + o) * HEADS + head, tl.sum(tl.sum(product_sum * gram, 1), 0))


@triton.jit
def finish_scales(
    moments,
    shares,
    weight,
    scales,
    mean,
    variance,
    length,
    num_pairs,
    eps,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    HEADS: tl.constexpr,
    H2: tl.constexpr,
    B: tl.constexpr,
):
    """Write scales, mean and biased variance, each [term, HEADS]; one program for each of the three terms.

    Args:
        moments: float64 [2, HEADS]: sum and sum of squares of the content term.
        shares: Those of the position terms, as `meet_rows` leaves them.
        weight: [term, HEADS] of the norm.
        scales: Receives weight / sqrt(variance + eps).
        mean: Receives the mean.
        variance: Receives the variance.
        length: Positions on the axis.
        num_pairs: Visible pairs of all lines.
        eps: Added to the variance.
    """
    term = tl.program_id(0)
    if term == 0 or (term == 1 and HAS_QUERY) or (term == 2 and HAS_KEY):
        head = tl.arange(0, H2)
        on = head < HEADS
        total = tl.zeros([H2], tl.float64)
        squares = tl.zeros([H2], tl.float64)
        if term == 0:
            total += tl.load(moments + head, mask=on, other=0.0)
            squares += tl.load(moments + HEADS + head, mask=on, other=0.0)
        else:
            for first in range(0, length, B):
                o = first + tl.arange(0, B)[:, None]
                inside = (o < length) & on[None, :]
                at = ((term - 1) * 2 * length + o) * HEADS + head[None, :]
                total += tl.sum(tl.load(shares + at, mask=inside, other=0.0).to(tl.float64), 0)
                squares += tl.sum(tl.load(shares + length * HEADS + at, mask=inside, other=0.0).to(tl.float64), 0)
        row = term
        if not HAS_QUERY:
            row = tl.minimum(term, 1)
        m = total / num_pairs
        v = tl.maximum(squares / num_pairs - m * m, 0.0)
        w = tl.load(weight + row * HEADS + head, mask=on, other=0.0).to(tl.float64)
        tl.store(scales + row * HEADS + head, (w / tl.sqrt(v + eps)).to(tl.float32), mask=on)
        tl.store(mean + row * HEADS + head, m.to(tl.float32), mask=on)
        tl.store(variance + row * HEADS + head, v.to(tl.float32), mask=on)


@triton.jit
def differentiate_moments(grad_scales, weight, mean, variance, at, num_pairs, eps):
    """Return the gradients of sum, sum of squares and weight of one head and term."""
    g = tl.load(grad_scales + at).to(tl.float32)
    v = tl.load(variance + at)
    inverse = 1 / tl.sqrt(v + eps)
    grad_variance = tl.where(v > 0, -0.5 * g * tl.load(weight + at).to(tl.float32) * inverse * inverse * inverse, 0.0)
    grad_squares = grad_variance / num_pairs
    return -2 * tl.load(mean + at) * grad_squares, grad_squares, g * inverse


@triton.jit(do_not_specialize=SIZES)
def meet_rows_backward(
    grad_scales,
    weight,
    mean,
    variance,
    sums,
    grams,
    rows_met,
    products_met,
    grad_moments,
    grad_weight,
    grad_sums,
    grad_grams,
    grad_rows_met,
    grad_products_met,
    length,
    reach,
    num_rows,
    num_pairs,
    eps,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    D2: tl.constexpr,
):
    """Write the gradients of all that the forward kernels read but the tables, and those of `s` and `S`, the latter symmetric.

    A gradient is laid out like its tensor. Programs are positions by query table, key table, content; the last has one.
    """
    o, which = tl.program_id(0), tl.program_id(1)
    i = tl.arange(0, D2)
    on = i < D
    square = i[:, None] * D + i[None, :]
    both = on[:, None] & on[None, :]
    if which == 2:
        if o == 0:
            for head in range(HEADS):
                grad_sum, grad_squares, grad_w = differentiate_moments(
                    grad_scales, weight, mean, variance, head, num_pairs, eps
                )
                tl.store(grad_moments + head, grad_sum.to(tl.float64))
                tl.store(grad_moments + HEADS + head, grad_squares.to(tl.float64))
                tl.store(grad_weight + head, grad_w)
    else:
        here = which * length + o
        if (which == 0 and HAS_QUERY) or (which == 1 and HAS_KEY):
            term = 1 + which * HAS_QUERY
            row_sum = tl.load(rows_met + here * D + i, mask=on, other=0.0)
            product_sum = tl.load(products_met + here * D * D + square, mask=both, other=0.0)
            grad_row = tl.zeros([D2], tl.float32)
            grad_product = tl.zeros([D2, D2], tl.float32)
            for head in range(HEADS):
                grad_sum, grad_squares, grad_w = differentiate_moments(
                    grad_scales, weight, mean, variance, term * HEADS + head, num_pairs, eps
                )
                at = here * HEADS + head
                grad_row += grad_sum * tl.load(sums + at * D + i, mask=on, other=0.0)
                grad_product += grad_squares * tl.load(grams + at * D * D + square, mask=both, other=0.0)
                tl.store(grad_sums + at * D + i, grad_sum * row_sum, mask=on)
                tl.store(grad_grams + at * D * D + square, grad_squares * product_sum, mask=both)
                if o == 0:
                    tl.store(grad_weight + term * HEADS + head, grad_w)
            tl.store(grad_rows_met + here * D + i, grad_row, mask=on)
            tl.store(grad_products_met + here * D * D + square, grad_product + tl.trans(grad_product), mask=both)
        else:
            for head in range(HEADS):
                at = here * HEADS + head
                tl.store(grad_sums + at * D + i, tl.zeros([D2], tl.float32), mask=on)
                tl.store(grad_grams + at * D * D + square, tl.zeros([D2, D2], tl.float32), mask=both)


@triton.jit(do_not_specialize=SIZES)
def meet_rows_of_tables_backward(
    query_table,
    key_table,
    grad_rows_met,
    grad_products_met,
    grad_query_table,
    grad_key_table,
    length,
    reach,
    num_rows,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    D: tl.constexpr,
    D2: tl.constexpr,
    B: tl.constexpr,
):
    """Write the gradients of the tables, a program for every row: it sums over the positions that meet the row.

    The rows at the ends stand for all distances beyond, so a position may meet them more than once.
    """
    row, which = tl.program_id(0), tl.program_id(1)
    if (which == 0 and HAS_QUERY) or (which == 1 and HAS_KEY):
        middle = (num_rows - 1) // 2
        i = tl.arange(0, D2)
        on = i < D
        square = i[:, None] * D + i[None, :]
        both = on[:, None] & on[None, :]
        grad_row = tl.zeros([D2], tl.float32)
        grad_product = tl.zeros([D2, D2], tl.float32)
        for first in range(0, length, B):
            o = first + tl.arange(0, B)
            low, high = find_window(o, which, length, reach)
            begin = tl.maximum(low, tl.where(row == 0, low, row - middle))
            end = tl.minimum(high, tl.where(row == num_rows - 1, high, row - middle))
            met = tl.where(o < length, tl.maximum(end - begin + 1, 0), 0)
            inside = met > 0
            here = which * length + o
            s = tl.load(grad_rows_met + here[:, None] * D + i[None, :], mask=inside[:, None] & on[None, :], other=0.0)
            at = here[:, None, None] * D * D + square[None, :, :]
            products = tl.load(grad_products_met + at, mask=inside[:, None, None] & both[None, :, :], other=0.0)
            grad_row += tl.sum(s * met[:, None].to(tl.float32), 0)
            grad_product += tl.sum(products * met[:, None, None].to(tl.float32), 0)
        at = row * D + i
        if which == 0:
            r = tl.load(query_table + at, mask=on, other=0.0).to(tl.float32)
            tl.store(grad_query_table + at, grad_row + tl.sum(grad_product * r[None, :], 1), mask=on)
        else:
            r = tl.load(key_table + at, mask=on, other=0.0).to(tl.float32)
            tl.store(grad_key_table + at, grad_row + tl.sum(grad_product * r[None, :], 1), mask=on)
