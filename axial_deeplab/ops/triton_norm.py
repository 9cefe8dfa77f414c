"""Batch norm over the channels of a channels-last map in Triton: normalisation with what follows it, backward.

A map is [row, channel], rows side by side. What may follow: the sum of both halves of the channels, as the attention layers add
content and position; the sum with another map, as a residual block adds its shortcut; then a ReLU. Sums over rows are taken in
shares and added in a fixed order, so results repeat.
"""

import triton
import triton.language as tl


@triton.jit
def load_normed(x, r, c, inside, channels, mean, inverse, weight, bias):
    """Return the normalised values of a tile in float32."""
    value = tl.load(x + r.to(tl.int64) * channels + c[None, :], mask=inside, other=0.0).to(tl.float32)
    valid = c < channels
    scale = tl.load(inverse + c, mask=valid, other=0.0) * tl.load(weight + c, mask=valid, other=0.0)
    shift = tl.load(bias + c, mask=valid, other=0.0) - tl.load(mean + c, mask=valid, other=0.0) * scale
    return value * scale[None, :] + shift[None, :]


@triton.jit
def normalize(
    x,
    mean,
    inverse,
    weight,
    bias,
    residual,
    out,
    rows,
    channels,
    RELU: tl.constexpr,
    HALVES: tl.constexpr,
    RESIDUAL: tl.constexpr,
    C: tl.constexpr,
    R: tl.constexpr,
):
    """Write [row, channel], or half as many channels where halves are added; `residual` is laid out like it."""
    r = tl.program_id(0) * R + tl.arange(0, R)[:, None]
    c = tl.program_id(1) * C + tl.arange(0, C)
    out_channels = channels
    if HALVES:
        out_channels = channels // 2
    inside = (r < rows) & (c < out_channels)[None, :]
    value = load_normed(x, r, c, inside, channels, mean, inverse, weight, bias)
    if HALVES:
        value += load_normed(x, r, c + out_channels, inside, channels, mean, inverse, weight, bias)
    at = r.to(tl.int64) * out_channels + c[None, :]
    if RESIDUAL:
        value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    if RELU:
        value = tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(out + at, value, mask=inside)


@triton.jit
def load_gradient(
    x,
    grad,
    out,
    r,
    c,
    inside,
    channels,
    mean,
    inverse,
    weight,
    bias,
    RELU: tl.constexpr,
    FROM_OUT: tl.constexpr,
    HALVES: tl.constexpr,
):
    """Return deviation over standard deviation, and the gradient of the norm's output, of a tile.

    What the ReLU lets through is computed again from `x`, or read from `out` where the norm alone does not decide it.
    """
    at = r.to(tl.int64) * channels + c[None, :]
    grad_at = at
    if HALVES:
        half = channels // 2
        grad_at = r.to(tl.int64) * half + (c % half)[None, :]
    g = tl.load(grad + grad_at, mask=inside, other=0.0).to(tl.float32)
    valid = c < channels
    m = tl.load(mean + c, mask=valid, other=0.0)[None, :]
    deviation = (tl.load(x + at, mask=inside, other=0.0).to(tl.float32) - m) * tl.load(
        inverse + c, mask=valid, other=0.0
    )[None, :]
    if RELU:
        if FROM_OUT:
            g = tl.where(tl.load(out + grad_at, mask=inside, other=0.0) > 0, g, 0.0)
        else:
            w = tl.load(weight + c, mask=valid, other=0.0)[None, :]
            b = tl.load(bias + c, mask=valid, other=0.0)[None, :]
            g = tl.where(deviation * w + b > 0, g, 0.0)
    return deviation, g


@triton.jit
def sum_gradients(
    x,
    grad,
    mean,
    inverse,
    weight,
    bias,
    out,
    masked,
    shares,
    rows,
    channels,
    per_share,
    RELU: tl.constexpr,
    FROM_OUT: tl.constexpr,
    HALVES: tl.constexpr,
    C: tl.constexpr,
    R: tl.constexpr,
):
    """Write [2, share, channel]: sums of the gradient, and of the gradient times the deviation.

    Where `out` decides what the ReLU lets through, also write the gradient behind it to `masked`, laid out like `grad`.
    """
    share, num_shares = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * C + tl.arange(0, C)
    valid = c < channels
    total = tl.zeros([R, C], tl.float32)
    products = tl.zeros([R, C], tl.float32)
    begin = share * per_share
    end = tl.minimum(begin + per_share, rows)
    for r0 in range(begin, end, R):
        r = r0 + tl.arange(0, R)[:, None]
        inside = (r < end) & valid[None, :]
        deviation, g = load_gradient(
            x, grad, out, r, c, inside, channels, mean, inverse, weight, bias, RELU, FROM_OUT, HALVES
        )
        total += g
        products += g * deviation
        if FROM_OUT:
            out_channels = channels // (1 + HALVES)
            at = r.to(tl.int64) * out_channels + c[None, :]
            tl.store(masked + at, g, mask=inside & (c < out_channels)[None, :])
    tl.store(shares + share * channels + c, tl.sum(total, 0), mask=valid)
    tl.store(shares + (num_shares + share) * channels + c, tl.sum(products, 0), mask=valid)


@triton.jit
def finish_gradients(shares, grads, channels, num_shares, C: tl.constexpr, S: tl.constexpr):
    """Add the shares: [2, channel]."""
    c = tl.program_id(0) * C + tl.arange(0, C)
    which = tl.program_id(1)
    valid = c < channels
    total = tl.zeros([C], tl.float32)
    for s0 in range(0, num_shares, S):
        s = s0 + tl.arange(0, S)[:, None]
        at = (which * num_shares + s) * channels + c[None, :]
        total += tl.sum(tl.load(shares + at, mask=(s < num_shares) & valid[None, :], other=0.0), 0)
    tl.store(grads + which * channels + c, total, mask=valid)


@triton.jit
def normalize_backward(
    x,
    grad,
    mean,
    inverse,
    weight,
    bias,
    grads,
    grad_x,
    rows,
    channels,
    RELU: tl.constexpr,
    HALVES: tl.constexpr,
    C: tl.constexpr,
    R: tl.constexpr,
):
    """Write the gradient of the map from the sums of `finish_gradients`."""
    r = tl.program_id(0) * R + tl.arange(0, R)[:, None]
    c = tl.program_id(1) * C + tl.arange(0, C)
    valid = c < channels
    inside = (r < rows) & valid[None, :]
    deviation, g = load_gradient(x, grad, x, r, c, inside, channels, mean, inverse, weight, bias, RELU, False, HALVES)
    scale = tl.load(inverse + c, mask=valid, other=0.0) * tl.load(weight + c, mask=valid, other=0.0)
    mean_g = tl.load(grads + c, mask=valid, other=0.0) / rows
    mean_product = tl.load(grads + channels + c, mask=valid, other=0.0) / rows
    value = scale[None, :] * (g - mean_g[None, :] - deviation * mean_product[None, :])
    tl.store(grad_x + r.to(tl.int64) * channels + c[None, :], value, mask=inside)


@triton.jit
def add_residual(x, residual, count, RELU: tl.constexpr, B: tl.constexpr):
    """Add `residual` to `x` in place, number by number as they lie in memory."""
    i = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    value = tl.load(x + i, mask=i < count, other=0.0).to(tl.float32)
    value += tl.load(residual + i, mask=i < count, other=0.0).to(tl.float32)
    if RELU:
        value = tl.maximum(value, 0.0, propagate_nan=tl.PropagateNan.ALL)
    tl.store(x + i, value, mask=i < count)
