"""The content term's moments where a query does not see all keys: products tile by tile; see triton_moments.py.

What both files load and multiply with is here.
"""

import triton
import triton.language as tl

from axial_deeplab.ops.triton_forward import SIZES, locate


@triton.jit
def multiply(x, factor):
    """Return the matrix product of values and float32 gradients, which float16 could not hold: they may be below 1e-8."""
    if x.dtype == tl.bfloat16:
        product = tl.dot(x, factor.to(tl.bfloat16))
    else:
        product = tl.dot(x.to(tl.float32), factor.to(tl.float32), input_precision="ieee")
    return product


@triton.jit
def apply_norm(x, affine, column, mask, D, BD: tl.constexpr, IN: tl.constexpr, NORMED: tl.constexpr):
    """Return a tile [..., BD], channels from `column` on, as the norm leaves it, rounded to its type; zeros off the mask."""
    channel = tl.arange(0, BD)
    if NORMED:
        scale = tl.load(affine + column + channel, mask=channel < D, other=0.0)
        shift = tl.load(affine + IN + column + channel, mask=channel < D, other=0.0)
        x = tl.where(mask, x.to(tl.float32) * scale[None, :] + shift[None, :], 0.0).to(x.dtype)
    return x


@triton.jit
def load_tile(base, first, step, length, D, BLOCK: tl.constexpr, BD: tl.constexpr):
    """Return [BLOCK, BD]: the `D` channels of positions `first` onwards of a line, zeros elsewhere."""
    position = first + tl.arange(0, BLOCK)
    channel = tl.arange(0, BD)
    pointer = base + position[:, None].to(tl.int64) * step + channel[None, :]
    return tl.load(pointer, mask=(position < length)[:, None] & (channel < D)[None, :], other=0.0)


@triton.jit
def load_normed_tile(
    base,
    affine,
    column,
    first,
    step,
    length,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
    BD: tl.constexpr,
    IN: tl.constexpr,
    NORMED: tl.constexpr,
):
    """Return [BLOCK, BD]: the `D` channels from `column` on of positions `first` onwards, normalised; zeros elsewhere."""
    mask = ((first + tl.arange(0, BLOCK)) < length)[:, None] & (tl.arange(0, BD) < D)[None, :]
    x = load_tile(base + column, first, step, length, D, BLOCK, BD)
    return apply_norm(x, affine, column, mask, D, BD, IN, NORMED)


@triton.jit
def see(o0, p0, length, reach, BLOCK: tl.constexpr):
    """Return [BLOCK, BLOCK]: which of the queries from `o0` see which of the keys from `p0`."""
    o = o0 + tl.arange(0, BLOCK)[:, None]
    p = p0 + tl.arange(0, BLOCK)[None, :]
    return (p - o <= reach) & (o - p <= reach) & (o < length) & (p < length)


@triton.jit(do_not_specialize=SIZES)
def local_moments(
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
    NORMED: tl.constexpr,
):
    """Write the sum of `q.k` and of its square over the visible pairs of one line and head, float32 [2, line, head]."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    line = tl.program_id(0) // HEADS
    head = tl.program_id(0) % HEADS
    step = tl.cast(inner, tl.int64) * IN
    base = qkv + locate(line, inner, length) * IN
    q_column, k_column = head * D, (HEADS + head) * D
    total = tl.zeros([BLOCK, BLOCK], tl.float32)
    squares = tl.zeros([BLOCK, BLOCK], tl.float32)
    for o0 in range(0, length, BLOCK):
        q = load_normed_tile(base, affine, q_column, o0, step, length, D, BLOCK, BD, IN, NORMED)
        low = tl.maximum(o0 - reach, 0) // BLOCK * BLOCK
        for p0 in range(low, tl.minimum(o0 + BLOCK + reach, length), BLOCK):
            k = load_normed_tile(base, affine, k_column, p0, step, length, D, BLOCK, BD, IN, NORMED)
            product = tl.dot(q, tl.trans(k), input_precision="ieee")
            product = tl.where(see(o0, p0, length, reach, BLOCK), product, 0.0)
            total += product
            squares += product * product
    tl.store(moments + tl.program_id(0), tl.sum(tl.sum(total, 1), 0))
    tl.store(moments + num_lines * HEADS + tl.program_id(0), tl.sum(tl.sum(squares, 1), 0))


@triton.jit(do_not_specialize=SIZES)
def local_moments_backward(
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
    NORMED: tl.constexpr,
):
    """Add the gradient of the content moments, `grad_moments` float32 [2, head], to the queries and keys of `grad_qkv`."""
    IN: tl.constexpr = HEADS * (2 * D + E)
    line = tl.program_id(0) // HEADS
    head = tl.program_id(0) % HEADS
    step = tl.cast(inner, tl.int64) * IN
    offset = locate(line, inner, length) * IN
    base = qkv + offset
    q_column, k_column = head * D, (HEADS + head) * D
    grad_sum = tl.load(grad_moments + head)
    grad_squares = 2 * tl.load(grad_moments + HEADS + head)
    channel = tl.arange(0, BD)
    for x0 in range(0, length, BLOCK):
        q = load_normed_tile(base, affine, q_column, x0, step, length, D, BLOCK, BD, IN, NORMED)
        k = load_normed_tile(base, affine, k_column, x0, step, length, D, BLOCK, BD, IN, NORMED)
        grad_q = tl.zeros([BLOCK, BD], tl.float32)
        grad_k = tl.zeros([BLOCK, BD], tl.float32)
        low = tl.maximum(x0 - reach, 0) // BLOCK * BLOCK
        for y0 in range(low, tl.minimum(x0 + BLOCK + reach, length), BLOCK):
            other_k = load_normed_tile(base, affine, k_column, y0, step, length, D, BLOCK, BD, IN, NORMED)
            other_q = load_normed_tile(base, affine, q_column, y0, step, length, D, BLOCK, BD, IN, NORMED)
            visible = see(x0, y0, length, reach, BLOCK)
            product = tl.dot(q, tl.trans(other_k), input_precision="ieee")
            grad = tl.where(visible, grad_sum + grad_squares * product, 0.0)
            grad_q += tl.trans(multiply(tl.trans(other_k), tl.trans(grad)))
            product = tl.dot(k, tl.trans(other_q), input_precision="ieee")  # [key, query]
            grad = tl.where(visible, grad_sum + grad_squares * product, 0.0)
            grad_k += tl.trans(multiply(tl.trans(other_q), tl.trans(grad)))
        position = x0 + tl.arange(0, BLOCK)
        pointer = grad_qkv + offset + position[:, None].to(tl.int64) * step + (q_column + channel)[None, :]
        mask = (position < length)[:, None] & (channel < D)[None, :]
        grad_q += tl.load(pointer, mask=mask, other=0.0).to(tl.float32)
        grad_k += tl.load(pointer + HEADS * D, mask=mask, other=0.0).to(tl.float32)
        tl.store(pointer, grad_q.to(q.dtype), mask=mask)
        tl.store(pointer + HEADS * D, grad_k.to(q.dtype), mask=mask)
