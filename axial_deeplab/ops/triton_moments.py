"""Kernels for the batch statistics of the similarity terms, from the packed map: no pair is ever stored.

The content term is summed tile by tile (`content_moments`); the position terms need, for every position and head, only the sum
of the queries over all lines and their Gram matrix (`line_grams`), because all lines meet the same table rows.
"""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_forward import SIZES, locate


@triton.jit
def load_tile(base, first, step, length, D: tl.constexpr, BLOCK: tl.constexpr, BD: tl.constexpr):
    """Return [BLOCK, BD]: the `D` channels of positions `first` onwards of a line, zeros elsewhere."""
    position = first + tl.arange(0, BLOCK)
    channel = tl.arange(0, BD)
    pointer = base + position[:, None].to(tl.int64) * step + channel[None, :]
    return tl.load(pointer, mask=(position < length)[:, None] & (channel < D)[None, :], other=0.0)


@triton.jit
def see(o0, p0, length, reach, BLOCK: tl.constexpr):
    """Return [BLOCK, BLOCK]: which of the queries from `o0` see which of the keys from `p0`."""
    o = o0 + tl.arange(0, BLOCK)[:, None]
    p = p0 + tl.arange(0, BLOCK)[None, :]
    return (p - o <= reach) & (o - p <= reach) & (o < length) & (p < length)


@triton.jit(do_not_specialize=SIZES)
def content_moments(
    qkv,
    moments,
    num_lines,
    inner,
    length,
    reach,
    first_row,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK: tl.constexpr,
    BD: tl.constexpr,
):
    """Write the sum of `q.k` and of its square over the visible pairs of one line and head, float32 [2, line, head]."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    line = tl.program_id(0) // HEADS
    head = tl.program_id(0) % HEADS
    step = tl.cast(inner, tl.int64) * IN
    base = qkv + locate(line, inner, length) * IN + head * D
    total = tl.zeros([BLOCK, BLOCK], tl.float32)
    squares = tl.zeros([BLOCK, BLOCK], tl.float32)
    for o0 in range(0, length, BLOCK):
        q = load_tile(base, o0, step, length, D, BLOCK, BD)
        low = tl.maximum(o0 - reach, 0) // BLOCK * BLOCK
        for p0 in range(low, tl.minimum(o0 + BLOCK + reach, length), BLOCK):
            k = load_tile(base + HEADS * D, p0, step, length, D, BLOCK, BD)
            product = tl.dot(q, tl.trans(k), input_precision="ieee")
            product = tl.where(see(o0, p0, length, reach, BLOCK), product, 0.0)
            total += product
            squares += product * product
    tl.store(moments + tl.program_id(0), tl.sum(tl.sum(total, 1), 0))
    tl.store(moments + num_lines * HEADS + tl.program_id(0), tl.sum(tl.sum(squares, 1), 0))


@triton.jit(do_not_specialize=SIZES)
def content_moments_backward(
    qkv,
    grad_moments,
    grad_qkv,
    num_lines,
    inner,
    length,
    reach,
    first_row,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK: tl.constexpr,
    BD: tl.constexpr,
):
    """Add the gradient of the content moments, `grad_moments` float32 [2, head], to the queries and keys of `grad_qkv`."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    line = tl.program_id(0) // HEADS
    head = tl.program_id(0) % HEADS
    step = tl.cast(inner, tl.int64) * IN
    offset = locate(line, inner, length) * IN + head * D
    base = qkv + offset
    grad_sum = tl.load(grad_moments + head)
    grad_squares = 2 * tl.load(grad_moments + HEADS + head)
    channel = tl.arange(0, BD)
    for x0 in range(0, length, BLOCK):
        q = load_tile(base, x0, step, length, D, BLOCK, BD)
        k = load_tile(base + HEADS * D, x0, step, length, D, BLOCK, BD)
        grad_q = tl.zeros([BLOCK, BD], tl.float32)
        grad_k = tl.zeros([BLOCK, BD], tl.float32)
        low = tl.maximum(x0 - reach, 0) // BLOCK * BLOCK
        for y0 in range(low, tl.minimum(x0 + BLOCK + reach, length), BLOCK):
            other_k = load_tile(base + HEADS * D, y0, step, length, D, BLOCK, BD)
            other_q = load_tile(base, y0, step, length, D, BLOCK, BD)
            visible = see(x0, y0, length, reach, BLOCK)
            product = tl.dot(q, tl.trans(other_k), input_precision="ieee")
            grad = tl.where(visible, grad_sum + grad_squares * product, 0.0).to(q.dtype)
            grad_q += tl.dot(grad, other_k, input_precision="ieee")
            product = tl.dot(k, tl.trans(other_q), input_precision="ieee")  # [key, query]
            grad = tl.where(visible, grad_sum + grad_squares * product, 0.0).to(q.dtype)
            grad_k += tl.dot(grad, other_q, input_precision="ieee")
        position = x0 + tl.arange(0, BLOCK)
        pointer = grad_qkv + offset + position[:, None].to(tl.int64) * step + channel[None, :]
        mask = (position < length)[:, None] & (channel < D)[None, :]
        grad_q += tl.load(pointer, mask=mask, other=0.0).to(tl.float32)
        grad_k += tl.load(pointer + HEADS * D, mask=mask, other=0.0).to(tl.float32)
        tl.store(pointer, grad_q.to(q.dtype), mask=mask)
        tl.store(pointer + HEADS * D, grad_k.to(q.dtype), mask=mask)


@triton.jit
def locate_lines(
    qkv, line, position, num_lines, inner, length, part, D: tl.constexpr, BD: tl.constexpr, IN: tl.constexpr
):
    """Return pointers and mask [line, BD] of the `D` channels from `part` on, at one position of several lines."""
    channel = tl.arange(0, BD)
    pixel = locate(tl.minimum(line, num_lines - 1), inner, length) + tl.cast(position, tl.int64) * inner
    pointer = qkv + (pixel * IN)[:, None] + (part + channel)[None, :]
    return pointer, (line < num_lines)[:, None] & (channel < D)[None, :]


@triton.jit(do_not_specialize=(*SIZES, "splits"))
def line_grams(
    qkv,
    sums,
    grams,
    num_lines,
    inner,
    length,
    reach,
    first_row,
    splits,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK: tl.constexpr,
    BD: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Write `sums` [split, 2, length, HEADS * D] and Gram matrices [split, 2, length, head, D, D] over a share of the lines.

    First of the queries, then of the keys; float32. A program takes `GROUP` neighboring heads at once, `BD` channels or fewer,
    and keeps the blocks of their Gram matrix that belong to one head.
    """
    IN: tl.constexpr = HEADS * (2 * D + E)
    groups: tl.constexpr = HEADS // GROUP
    pid = tl.program_id(0)
    group = pid % groups
    part = pid // groups % 2
    position = pid // (2 * groups) % length
    split = pid // (2 * groups * length)
    start = part * HEADS * D + group * GROUP * D
    total = tl.zeros([BD], tl.float32)
    gram = tl.zeros([BD, BD], tl.float32)
    for first in range(split * BLOCK, num_lines, splits * BLOCK):
        line = first + tl.arange(0, BLOCK)
        pointer, mask = locate_lines(qkv, line, position, num_lines, inner, length, start, GROUP * D, BD, IN)
        x = tl.load(pointer, mask=mask, other=0.0)
        total += tl.sum(x.to(tl.float32), 0)
        gram += tl.dot(tl.trans(x), x, input_precision="ieee")
    i = tl.arange(0, BD)[:, None]
    j = tl.arange(0, BD)[None, :]
    at = ((split * 2 + part) * length + position).to(tl.int64) * (HEADS * D) + group * GROUP * D
    channel = tl.arange(0, BD)
    tl.store(sums + at + channel, total, mask=channel < GROUP * D)
    same = (i // D == j // D) & (i < GROUP * D) & (j < GROUP * D)
    tl.store(grams + at * D + i * D + j % D, gram, mask=same)


@triton.jit(do_not_specialize=(*SIZES, "splits"))
def line_grams_backward(
    qkv,
    grad_sums,
    grad_grams,
    grad_qkv,
    num_lines,
    inner,
    length,
    reach,
    first_row,
    splits,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK: tl.constexpr,
    BD: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Write the gradient of `line_grams` to the queries and keys of `grad_qkv`; `grad_grams` must be symmetric already."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    groups: tl.constexpr = HEADS // GROUP
    pid = tl.program_id(0)
    group = pid % groups
    part = pid // groups % 2
    position = pid // (2 * groups) % length
    split = pid // (2 * groups * length)
    start = part * HEADS * D + group * GROUP * D
    i = tl.arange(0, BD)[:, None]
    j = tl.arange(0, BD)[None, :]
    at = (part * length + position).to(tl.int64) * (HEADS * D) + group * GROUP * D
    channel = tl.arange(0, BD)
    grad_sum = tl.load(grad_sums + at + channel, mask=channel < GROUP * D, other=0.0)
    same = (i // D == j // D) & (i < GROUP * D) & (j < GROUP * D)
    grad_gram = tl.load(grad_grams + at * D + i * D + j % D, mask=same, other=0.0)
    for first in range(split * BLOCK, num_lines, splits * BLOCK):
        line = first + tl.arange(0, BLOCK)
        pointer, mask = locate_lines(qkv, line, position, num_lines, inner, length, start, GROUP * D, BD, IN)
        x = tl.load(pointer, mask=mask, other=0.0)
        grad = tl.dot(x, grad_gram.to(x.dtype), input_precision="ieee") + grad_sum[None, :]
        pointer, mask = locate_lines(grad_qkv, line, position, num_lines, inner, length, start, GROUP * D, BD, IN)
        tl.store(pointer, grad.to(x.dtype), mask=mask)
