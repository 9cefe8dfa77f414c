"""The statistics of a batch norm over the channels of a channels-last map in Triton, those of several processes included.

A map is [row, channel], rows side by side. Sums over rows are taken in shares and added in a fixed order, so results repeat.
"""

import triton
import triton.language as tl


@triton.jit
def sum_rows(x, shares, rows, channels, per_share, C: tl.constexpr, R: tl.constexpr):
    """Write [2, share, channel]: sums of the rows of a share, and of their squares, both less the first row of all.

    Without that row, a mean much larger than the deviations would cost all digits of the variance.
    """
    share, num_shares = tl.program_id(0), tl.num_programs(0)
    c = tl.program_id(1) * C + tl.arange(0, C)
    valid = c < channels
    first = tl.load(x + c, mask=valid, other=0.0).to(tl.float32)[None, :]
    total = tl.zeros([R, C], tl.float32)
    squares = tl.zeros([R, C], tl.float32)
    begin = share * per_share
    end = tl.minimum(begin + per_share, rows)
    for r0 in range(begin, end, R):
        r = r0 + tl.arange(0, R)[:, None]
        inside = (r < end) & valid[None, :]
        value = tl.load(x + r.to(tl.int64) * channels + c[None, :], mask=inside, other=0.0).to(tl.float32) - first
        value = tl.where(inside, value, 0.0)
        total += value
        squares += value * value
    tl.store(shares + share * channels + c, tl.sum(total, 0), mask=valid)
    tl.store(shares + (num_shares + share) * channels + c, tl.sum(squares, 0), mask=valid)


@triton.jit
def finish_statistics(
    x,
    shares,
    weight,
    bias,
    mean,
    inverse,
    affine,
    running_mean,
    running_var,
    rows,
    channels,
    num_shares,
    eps,
    momentum,
    correction,
    C: tl.constexpr,
    S: tl.constexpr,
):
    """Turn shares into mean, 1 / standard deviation, scale and shift of every channel, and move the running statistics."""
    c = tl.program_id(0) * C + tl.arange(0, C)
    valid = c < channels
    m, variance = add_shares(x, shares, c, valid, rows, channels, num_shares, C, S)
    given = (weight, bias, mean, inverse, affine, running_mean, running_var)
    store_statistics(m, variance, rows, *given, c, valid, channels, eps, momentum, correction)


@triton.jit
def add_shares(x, shares, c, valid, rows, channels, num_shares, C: tl.constexpr, S: tl.constexpr):
    """Return mean and biased variance of some channels, float64."""
    total = tl.zeros([C], tl.float64)
    squares = tl.zeros([C], tl.float64)
    for s0 in range(0, num_shares, S):
        s = s0 + tl.arange(0, S)[:, None]
        inside = (s < num_shares) & valid[None, :]
        at = s * channels + c[None, :]
        total += tl.sum(tl.load(shares + at, mask=inside, other=0.0).to(tl.float64), 0)
        squares += tl.sum(tl.load(shares + num_shares * channels + at, mask=inside, other=0.0).to(tl.float64), 0)
    shifted = total / rows
    variance = tl.maximum(squares / rows - shifted * shifted, 0.0)
    return shifted + tl.load(x + c, mask=valid, other=0.0).to(tl.float64), variance


@triton.jit
def describe_rows(x, shares, described, rows, channels, num_shares, C: tl.constexpr, S: tl.constexpr):
    """Write [2 * channel + 1], float32: means, biased variances, and the number of rows."""
    c = tl.program_id(0) * C + tl.arange(0, C)
    valid = c < channels
    m, variance = add_shares(x, shares, c, valid, rows, channels, num_shares, C, S)
    tl.store(described + c, m.to(tl.float32), mask=valid)
    tl.store(described + channels + c, variance.to(tl.float32), mask=valid)
    if tl.program_id(0) == 0:
        tl.store(described + 2 * channels, rows * 1.0)


@triton.jit
def combine_statistics(
    described,
    weight,
    bias,
    mean,
    inverse,
    affine,
    running_mean,
    running_var,
    ratio,
    channels,
    num_processes,
    rank,
    eps,
    momentum,
    correction,
    C: tl.constexpr,
):
    """Do what `finish_statistics` does with the rows of all processes, and write the share of this process in them.

    Args:
        described: [process, 2 * channel + 1], what `describe_rows` wrote in each.
    """
    c = tl.program_id(0) * C + tl.arange(0, C)
    valid = c < channels
    rows = tl.zeros([1], tl.float64)
    own = tl.zeros([1], tl.float64)
    m = tl.zeros([C], tl.float64)
    for process in range(0, num_processes):
        at = described + process * (2 * channels + 1)
        count = tl.load(at + 2 * channels).to(tl.float64)
        rows += count
        own += tl.where(process == rank, count, 0.0)
        m += count * tl.load(at + c, mask=valid, other=0.0).to(tl.float64)
    m = m / rows
    variance = tl.zeros([C], tl.float64)
    for process in range(0, num_processes):
        at = described + process * (2 * channels + 1)
        count = tl.load(at + 2 * channels).to(tl.float64)
        away = tl.load(at + c, mask=valid, other=0.0).to(tl.float64) - m
        variance += count * (tl.load(at + channels + c, mask=valid, other=0.0).to(tl.float64) + away * away)
    given = (weight, bias, mean, inverse, affine, running_mean, running_var)
    store_statistics(m, variance / rows, rows, *given, c, valid, channels, eps, momentum, correction)
    if tl.program_id(0) == 0:
        tl.store(ratio + tl.arange(0, 1), (own / rows).to(tl.float32))


@triton.jit
def store_statistics(
    m,
    variance,
    rows,
    weight,
    bias,
    mean,
    inverse,
    affine,
    running_mean,
    running_var,
    c,
    valid,
    channels,
    eps,
    momentum,
    correction,
):
    """Write what a norm makes of some channels, and move the running statistics; see `finish_statistics`."""
    m = m.to(tl.float32)
    tl.store(mean + c, m, mask=valid)
    i = (1 / tl.sqrt(variance + eps)).to(tl.float32)
    tl.store(inverse + c, i, mask=valid)
    scale = i * tl.load(weight + c, mask=valid, other=0.0)
    tl.store(affine + c, scale, mask=valid)
    tl.store(affine + channels + c, tl.load(bias + c, mask=valid, other=0.0) - m * scale, mask=valid)
    unbiased = (variance * (rows / tl.maximum(rows - correction, 1))).to(tl.float32)
    old = tl.load(running_mean + c, mask=valid, other=0.0)
    tl.store(running_mean + c, old + momentum * (m - old), mask=valid)
    old = tl.load(running_var + c, mask=valid, other=0.0)
    tl.store(running_var + c, old + momentum * (unbiased - old), mask=valid)
