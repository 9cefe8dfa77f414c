"""Kernels for the batch statistics of wide heads: what triton_moments.py computes, `C` channels at a time.

A Gram matrix of a wide head fits no program's registers, so a program makes one block of it, [C, C]. The moments of the content
term are summed over tiles of products under any span; that costs less than the attention itself.
"""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_forward import SIZES, locate
from axial_deeplab.ops.triton_local_moments import load_tile, see
from axial_deeplab.ops.triton_memory import make_zeros
from axial_deeplab.ops.triton_moments import locate_lines
from axial_deeplab.ops.triton_wide import multiply
from axial_deeplab.ops.triton_wide_backward import fit


@triton.jit
def multiply_tile(x, x0, y, y0, step, length, D: tl.constexpr, B: tl.constexpr, C: tl.constexpr):
    """Return the products of vectors at positions from `x0` with those from `y0`, float32 [x, y]."""
    product = tl.zeros([B, B], tl.float32)
    for c in tl.range(0, D, C, num_stages=1):
        left = load_tile(x + c, x0, step, length, D - c, B, C)
        product = multiply(left, tl.trans(load_tile(y + c, y0, step, length, D - c, B, C)), product)
    return product


@triton.jit(do_not_specialize=SIZES)
def wide_moments(
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
    B: tl.constexpr,
    C: tl.constexpr,
):
    """Write the sum of `q.k` and of its square over what `B` queries of one line and head see, [2, line, head, block]."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    num_blocks = tl.cdiv(length, B)
    o0 = tl.program_id(0) % num_blocks * B
    pair = tl.program_id(0) // num_blocks
    step = tl.cast(inner, tl.int64) * IN
    base = qkv + locate(pair // HEADS, inner, length) * IN + pair % HEADS * D
    total = tl.zeros([B, B], tl.float32)
    squares = tl.zeros([B, B], tl.float32)
    low = tl.maximum(o0 - reach, 0) // B * B
    for p0 in tl.range(low, tl.minimum(o0 + B + reach, length), B, num_stages=1):
        product = multiply_tile(base, o0, base + HEADS * D, p0, step, length, D, B, C)
        product = tl.where(see(o0, p0, length, reach, B), product, 0.0)
        total += product
        squares += product * product
    shares = tl.cast(num_blocks, tl.int64) * num_lines * HEADS
    tl.store(moments + tl.program_id(0), tl.sum(tl.sum(total, 1), 0))
    tl.store(moments + shares + tl.program_id(0), tl.sum(tl.sum(squares, 1), 0))


@triton.jit(do_not_specialize=SIZES)
def wide_moments_backward(
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
    B: tl.constexpr,
    C: tl.constexpr,
):
    """Add the gradient of the content moments, `grad_moments` float32 [2, head], to `B` queries or keys of `grad_qkv`."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    DTYPE: tl.constexpr = qkv.dtype.element_ty
    num_blocks = tl.cdiv(length, B)
    x0 = tl.program_id(0) % num_blocks * B
    part = tl.program_id(0) // num_blocks % 2
    pair = tl.program_id(0) // (2 * num_blocks)
    head = pair % HEADS
    step = tl.cast(inner, tl.int64) * IN
    offset = locate(pair // HEADS, inner, length) * IN + head * D
    ours = offset + part * HEADS * D
    theirs = qkv + offset + (1 - part) * HEADS * D
    grad_sum = tl.load(grad_moments + head)
    grad_squares = 2 * tl.load(grad_moments + HEADS + head)
    sums = make_zeros((D + C - 1) // C, B, C)
    low = tl.maximum(x0 - reach, 0) // B * B
    for y0 in tl.range(low, tl.minimum(x0 + B + reach, length), B, num_stages=1):
        product = multiply_tile(qkv + ours, x0, theirs, y0, step, length, D, B, C)
        grad, factor = fit(tl.where(see(x0, y0, length, reach, B), grad_sum + grad_squares * product, 0.0), DTYPE)
        new_sums = ()
        for c in tl.static_range(0, D, C):
            y = load_tile(theirs + c, y0, step, length, D - c, B, C)
            added = multiply(grad.to(DTYPE), y, tl.zeros([B, C], tl.float32))
            new_sums = new_sums + (sums[c // C] + factor * added,)
        sums = new_sums
    x = x0 + tl.arange(0, B)
    for c in tl.static_range(0, D, C):
        channel = c + tl.arange(0, C)[None, :]
        written = (x < length)[:, None] & (channel < D)
        pointer = grad_qkv + ours + x[:, None] * step + channel
        grad_x = tl.load(pointer, mask=written, other=0.0).to(tl.float32) + sums[c // C]
        tl.store(pointer, grad_x.to(DTYPE), mask=written)


@triton.jit(do_not_specialize=(*SIZES, "splits"))
def wide_line_grams(
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
    B: tl.constexpr,
    C: tl.constexpr,
):
    """Do what `line_grams` does; a program makes one block of one Gram matrix."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    BLOCKS: tl.constexpr = (D + C - 1) // C
    column = tl.program_id(0) % BLOCKS * C
    row = tl.program_id(0) // BLOCKS % BLOCKS * C
    at = tl.program_id(0) // (BLOCKS * BLOCKS)  # split, part, position, head
    split = at // (2 * HEADS * length)
    part = at // (HEADS * length) % 2
    position = at // HEADS % length
    start = part * HEADS * D + at % HEADS * D
    total = tl.zeros([C], tl.float32)
    gram = tl.zeros([C, C], tl.float32)
    for first in tl.range(split * B, num_lines, splits * B, num_stages=1):
        line = first + tl.arange(0, B)
        pointer, mask = locate_lines(qkv, line, position, num_lines, inner, length, start + row, D - row, C, IN)
        x = tl.load(pointer, mask=mask, other=0.0)
        pointer, mask = locate_lines(qkv, line, position, num_lines, inner, length, start + column, D - column, C, IN)
        y = tl.load(pointer, mask=mask, other=0.0)
        total += tl.sum(x.to(tl.float32), 0)
        gram = multiply(tl.trans(x), y, gram)
    i = row + tl.arange(0, C)
    j = column + tl.arange(0, C)
    if column == 0:
        tl.store(sums + at.to(tl.int64) * D + i, total, mask=i < D)
    both = (i < D)[:, None] & (j < D)[None, :]
    tl.store(grams + at.to(tl.int64) * D * D + i[:, None] * D + j[None, :], gram, mask=both)


@triton.jit(do_not_specialize=(*SIZES, "splits"))
def wide_line_grams_backward(
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
    B: tl.constexpr,
    C: tl.constexpr,
):
    """Do what `line_grams_backward` does; a program writes `C` channels of one head."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    BLOCKS: tl.constexpr = (D + C - 1) // C
    DTYPE: tl.constexpr = qkv.dtype.element_ty
    column = tl.program_id(0) % BLOCKS * C
    at = tl.program_id(0) // BLOCKS % (2 * HEADS * length)  # part, position, head
    split = tl.program_id(0) // (BLOCKS * 2 * HEADS * length)
    position = at // HEADS % length
    start = at // (HEADS * length) * HEADS * D + at % HEADS * D
    j = column + tl.arange(0, C)
    grad_sum = tl.load(grad_sums + at.to(tl.int64) * D + j, mask=j < D, other=0.0)
    for first in tl.range(split * B, num_lines, splits * B, num_stages=1):
        line = first + tl.arange(0, B)
        grad = tl.zeros([B, C], tl.float32) + grad_sum[None, :]
        for row in tl.range(0, D, C, num_stages=1):
            i = row + tl.arange(0, C)
            both = (i < D)[:, None] & (j < D)[None, :]
            gram = grad_grams + at.to(tl.int64) * D * D + i[:, None] * D + j[None, :]
            grad_gram, factor = fit(tl.load(gram, mask=both, other=0.0), DTYPE)
            pointer, mask = locate_lines(qkv, line, position, num_lines, inner, length, start + row, D - row, C, IN)
            x = tl.load(pointer, mask=mask, other=0.0)
            grad += factor * multiply(x, grad_gram.to(DTYPE), tl.zeros([B, C], tl.float32))
        pointer, mask = locate_lines(
            grad_qkv, line, position, num_lines, inner, length, start + column, D - column, C, IN
        )
        tl.store(pointer, grad.to(DTYPE), mask=mask)
