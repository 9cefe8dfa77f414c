"""Kernels for the batch statistics of the similarity terms, from the packed map: no pair is ever stored.

The content term of a line needs only the sums and the Gram matrices of its queries and keys (`global_moments`); where a query
does not see all keys, its products tile by tile (triton_local_moments.py). The position terms need, for each position and head,
the sum of the queries over all lines and their Gram matrix (`line_grams`), because all lines meet the same table rows.

Both take `GROUP` neighboring heads at once: of a Gram matrix of `BD` channels they use the blocks of a head.

With `NORMED` every kernel applies the batch norm before the attention to what it loads: `affine` holds the scales of all
channels, then the shifts. Gradients are added to what `grad_qkv` holds, and are those of the normalised map.
"""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_forward import SIZES, locate
from axial_deeplab.ops.triton_local_moments import apply_norm, load_normed_tile, multiply


@triton.jit
def sum_line(
    base,
    affine,
    column,
    step,
    length,
    CHANNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    BD: tl.constexpr,
    IN: tl.constexpr,
    NORMED: tl.constexpr,
):
    """Return the sum [BD] and the Gram matrix [BD, BD] of the vectors of a line, float32."""
    total = tl.zeros([BD], tl.float32)
    gram = tl.zeros([BD, BD], tl.float32)
    for first in range(0, length, BLOCK):
        x = load_normed_tile(base, affine, column, first, step, length, CHANNELS, BLOCK, BD, IN, NORMED)
        total += tl.sum(x.to(tl.float32), 0)
        gram += tl.dot(tl.trans(x), x, input_precision="ieee")
    return total, gram


@triton.jit
def share_head(D: tl.constexpr, CHANNELS: tl.constexpr, BD: tl.constexpr):
    """Return [BD, BD]: which channels belong to one head."""
    i = tl.arange(0, BD)[:, None]
    j = tl.arange(0, BD)[None, :]
    return (i // D == j // D) & (i < CHANNELS) & (j < CHANNELS)


@triton.jit(do_not_specialize=SIZES)
def global_moments(
    qkv,
    affine,
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
    GROUP: tl.constexpr,
    NORMED: tl.constexpr,
):
    """Write the sum of `q.k` and of its square over all pairs of a line, a share for each channel, [2, line, channel]."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    groups: tl.constexpr = HEADS // GROUP
    line = tl.program_id(0) // groups
    start = tl.program_id(0) % groups * (GROUP * D)
    step = tl.cast(inner, tl.int64) * IN
    base = qkv + locate(line, inner, length) * IN
    sum_q, gram_q = sum_line(base, affine, start, step, length, GROUP * D, BLOCK, BD, IN, NORMED)
    sum_k, gram_k = sum_line(base, affine, HEADS * D + start, step, length, GROUP * D, BLOCK, BD, IN, NORMED)
    squares = tl.sum(tl.where(share_head(D, GROUP * D, BD), gram_q * gram_k, 0.0), 1)
    channel = tl.arange(0, BD)
    target = moments + line.to(tl.int64) * (HEADS * D) + start + channel
    tl.store(target, sum_q * sum_k, mask=channel < GROUP * D)
    tl.store(target + tl.cast(num_lines, tl.int64) * (HEADS * D), squares, mask=channel < GROUP * D)


@triton.jit(do_not_specialize=SIZES)
def global_moments_backward(
    qkv,
    affine,
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
    GROUP: tl.constexpr,
    NORMED: tl.constexpr,
):
    """Add the gradient of the content moments, `grad_moments` float32 [2, head], to the queries and keys of `grad_qkv`."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    groups: tl.constexpr = HEADS // GROUP
    line = tl.program_id(0) // groups
    start = tl.program_id(0) % groups * (GROUP * D)
    step = tl.cast(inner, tl.int64) * IN
    offset = locate(line, inner, length) * IN
    base = qkv + offset
    sum_q, gram_q = sum_line(base, affine, start, step, length, GROUP * D, BLOCK, BD, IN, NORMED)
    sum_k, gram_k = sum_line(base, affine, HEADS * D + start, step, length, GROUP * D, BLOCK, BD, IN, NORMED)
    channel = tl.arange(0, BD)
    used = channel < GROUP * D
    head = (start + channel) // D
    grad_sum = tl.load(grad_moments + head, mask=used, other=0.0)
    grad_squares = 2 * tl.load(grad_moments + HEADS + head, mask=used, other=0.0)[None, :]
    same = share_head(D, GROUP * D, BD)
    gram_q = tl.where(same, gram_q * grad_squares, 0.0)
    gram_k = tl.where(same, gram_k * grad_squares, 0.0)
    for first in range(0, length, BLOCK):
        q = load_normed_tile(base, affine, start, first, step, length, GROUP * D, BLOCK, BD, IN, NORMED)
        k = load_normed_tile(base, affine, HEADS * D + start, first, step, length, GROUP * D, BLOCK, BD, IN, NORMED)
        grad_q = multiply(q, gram_k) + (grad_sum * sum_k)[None, :]
        grad_k = multiply(k, gram_q) + (grad_sum * sum_q)[None, :]
        position = first + tl.arange(0, BLOCK)
        pointer = grad_qkv + offset + position[:, None].to(tl.int64) * step + (start + channel)[None, :]
        mask = (position < length)[:, None] & used[None, :]
        grad_q += tl.load(pointer, mask=mask, other=0.0).to(tl.float32)
        grad_k += tl.load(pointer + HEADS * D, mask=mask, other=0.0).to(tl.float32)
        tl.store(pointer, grad_q.to(q.dtype), mask=mask)
        tl.store(pointer + HEADS * D, grad_k.to(q.dtype), mask=mask)


@triton.jit
def locate_lines(qkv, line, position, num_lines, inner, length, part, D, BD: tl.constexpr, IN: tl.constexpr):
    """Return pointers and mask [line, BD] of the `D` channels from `part` on, at one position of several lines."""
    channel = tl.arange(0, BD)
    pixel = locate(tl.minimum(line, num_lines - 1), inner, length) + tl.cast(position, tl.int64) * inner
    pointer = qkv + (pixel * IN)[:, None] + (part + channel)[None, :]
    return pointer, (line < num_lines)[:, None] & (channel < D)[None, :]


@triton.jit(do_not_specialize=(*SIZES, "splits"))
def line_grams(
    qkv,
    affine,
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
    NORMED: tl.constexpr,
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
        x = apply_norm(tl.load(pointer, mask=mask, other=0.0), affine, start, mask, GROUP * D, BD, IN, NORMED)
        total += tl.sum(x.to(tl.float32), 0)
        gram += tl.dot(tl.trans(x), x, input_precision="ieee")
    i = tl.arange(0, BD)[:, None]
    j = tl.arange(0, BD)[None, :]
    same = share_head(D, GROUP * D, BD)
    at = ((split * 2 + part) * length + position).to(tl.int64) * (HEADS * D) + group * GROUP * D
    channel = tl.arange(0, BD)
    tl.store(sums + at + channel, total, mask=channel < GROUP * D)
    tl.store(grams + at * D + i * D + j % D, gram, mask=same)


@triton.jit(do_not_specialize=(*SIZES, "splits"))
def line_grams_backward(
    qkv,
    affine,
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
    NORMED: tl.constexpr,
):
    """Add the gradient of `line_grams` to the queries and keys of `grad_qkv`; `grad_grams` must be symmetric already."""
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
    same = share_head(D, GROUP * D, BD)
    grad_gram = tl.load(grad_grams + at * D + i * D + j % D, mask=same, other=0.0)
    for first in range(split * BLOCK, num_lines, splits * BLOCK):
        line = first + tl.arange(0, BLOCK)
        pointer, mask = locate_lines(qkv, line, position, num_lines, inner, length, start, GROUP * D, BD, IN)
        x = apply_norm(tl.load(pointer, mask=mask, other=0.0), affine, start, mask, GROUP * D, BD, IN, NORMED)
        grad = multiply(x, grad_gram) + grad_sum[None, :]
        pointer, mask = locate_lines(grad_qkv, line, position, num_lines, inner, length, start, GROUP * D, BD, IN)
        grad += tl.load(pointer, mask=mask, other=0.0).to(tl.float32)
        tl.store(pointer, grad.to(x.dtype), mask=mask)
