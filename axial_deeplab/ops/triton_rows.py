"""Position tables on their way into the kernels and their gradients on the way out: one launch each.

Inside, the rows of all tables lie side by side, one for every distance in use, each padded to four floats, with rows of zeros
before and after: kernels read whole tiles. Distances beyond a table share its end rows.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from axial_deeplab.ops.triton_tiles import Geometry, round_up

TableTuple = tuple[Tensor | None, Tensor | None, Tensor | None]


@triton.jit
def copy_row(
    table, out, row, distance, used, num_rows, pitch, column, DIM: tl.constexpr, PADDED: tl.constexpr, C: tl.constexpr
):
    """Copy the row of each distance, or zeros."""
    c = tl.arange(0, C)
    middle = (num_rows - 1) // 2
    source = tl.minimum(tl.maximum(distance, -middle), middle) + middle
    value = tl.load(table + source[:, None] * DIM + c[None, :], mask=used[:, None] & (c < DIM)[None, :], other=0.0)
    inside = (row >= 0)[:, None] & (c < PADDED)[None, :]
    tl.store(out + row[:, None] * pitch + column + c[None, :], value.to(tl.float32), mask=inside)


@triton.jit(do_not_specialize=("reach", "margin", "query_rows", "key_rows", "value_rows"))
def pack_tables(
    query,
    key,
    value,
    out,
    reach,
    margin,
    query_rows,
    key_rows,
    value_rows,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    HAS_VALUE: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    D2: tl.constexpr,
    E2: tl.constexpr,
    B: tl.constexpr,
):
    """Write [margin + 2 * reach + 1 + margin, pitch] from tables of `query_rows`, `key_rows` and `value_rows` rows."""
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = (HAS_QUERY + HAS_KEY) * D4 + HAS_VALUE * E4
    row = tl.program_id(0) * B + tl.arange(0, B)
    distance = row - margin - reach
    used = (distance >= -reach) & (distance <= reach)
    row = tl.where(row < 2 * (margin + reach) + 1, row, -1)
    if HAS_QUERY:
        copy_row(query, out, row, distance, used, query_rows, PITCH, 0, D, D4, D2)
    if HAS_KEY:
        copy_row(key, out, row, distance, used, key_rows, PITCH, HAS_QUERY * D4, D, D4, D2)
    if HAS_VALUE:
        copy_row(value, out, row, distance, used, value_rows, PITCH, (HAS_QUERY + HAS_KEY) * D4, E, E4, E2)


@triton.jit
def sum_row(
    shares,
    grad,
    row,
    num_rows,
    reach,
    num_shares,
    stride,
    pitch,
    column,
    DIM: tl.constexpr,
    C: tl.constexpr,
    S: tl.constexpr,
):
    """Write the gradient of a table's row: the sum over the shares, zero if its distance is not in use."""
    distance = row - (num_rows - 1) // 2
    c = tl.arange(0, C)
    total = tl.zeros([C], tl.float32)
    if (distance >= -reach) and (distance <= reach):
        for first in range(0, num_shares, S):
            s = first + tl.arange(0, S)[:, None]
            at = s.to(tl.int64) * stride + (distance + reach) * pitch + column + c[None, :]
            total += tl.sum(tl.load(shares + at, mask=(s < num_shares) & (c < DIM)[None, :], other=0.0), 0)
    tl.store(grad + row * DIM + c, total, mask=(row < num_rows) & (c < DIM))


@triton.jit(do_not_specialize=("reach", "query_rows", "key_rows", "value_rows", "num_shares"))
def sum_shares(
    shares,
    query,
    key,
    value,
    reach,
    query_rows,
    key_rows,
    value_rows,
    num_shares,
    stride,
    HAS_QUERY: tl.constexpr,
    HAS_KEY: tl.constexpr,
    HAS_VALUE: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    D2: tl.constexpr,
    E2: tl.constexpr,
    S: tl.constexpr,
):
    """Write the gradients of the tables from shares [share, distance, pitch], `stride` floats apart; for tables that reach."""
    D4: tl.constexpr = (D + 3) // 4 * 4
    E4: tl.constexpr = (E + 3) // 4 * 4
    PITCH: tl.constexpr = (HAS_QUERY + HAS_KEY) * D4 + HAS_VALUE * E4
    row = tl.program_id(0)
    if tl.program_id(1) == 0:
        if HAS_QUERY:
            sum_row(shares, query, row, query_rows, reach, num_shares, stride, PITCH, 0, D, D2, S)
    elif tl.program_id(1) == 1:
        if HAS_KEY:
            sum_row(shares, key, row, key_rows, reach, num_shares, stride, PITCH, HAS_QUERY * D4, D, D2, S)
    elif HAS_VALUE:
        sum_row(shares, value, row, value_rows, reach, num_shares, stride, PITCH, (HAS_QUERY + HAS_KEY) * D4, E, E2, S)


def launch_pack(tables: TableTuple, g: Geometry, margin: int, device: torch.device) -> Tensor:
    """Return the rows in use of all tables side by side, float32 [margin + 2 * reach + 1 + margin, pitch]."""
    if not any(g.terms):
        return torch.zeros(4, device=device)  # never read
    total = 2 * (margin + g.reach) + 1
    out = torch.empty(total, g.pitch, dtype=torch.float32, device=device)
    present = [out if table is None else table.contiguous() for table in tables]
    sizes = (g.reach, margin, *_count_rows(tables))
    pack_tables[(triton.cdiv(total, 32),)](*present, out, *sizes, **_list_constants(g), B=32)
    return out


def launch_unpack(shares: Tensor, tables: TableTuple, g: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the tables, float32, empty for one switched off.

    Args:
        shares: [share, at least 2 * reach + 1, pitch].
        tables: What they are the gradients of.
        g: The call.
    """
    grads = [shares.new_empty(0 if table is None else table.shape) for table in tables]
    rows = _count_rows(tables)
    if any(g.terms) and all(table is None or g.reach <= (len(table) - 1) // 2 for table in tables):
        sizes = (g.reach, *rows, shares.shape[0], shares.stride(0))
        sum_shares[max(rows), 3](shares, *grads, *sizes, **_list_constants(g), S=64)
    else:
        fold_rows(shares.sum(0), grads, g)
    return grads[0], grads[1], grads[2]


def fold_rows(rows: Tensor, grads: list[Tensor], g: Geometry) -> None:
    """Fill the gradients of tables from those of the rows by distance, [at least 2 * reach + 1, pitch], in plain operations."""
    start = 0
    for grad, dim, on in zip(grads, g.row_dims, g.terms, strict=True):
        if on:
            given, middle = rows[: 2 * g.reach + 1, start : start + dim], (len(grad) - 1) // 2
            beyond = g.reach - middle  # distances on either side that share the end row
            if beyond <= 0:
                grad.zero_()
                grad[-beyond : len(grad) + beyond] = given
            else:
                grad.copy_(given[beyond : len(given) - beyond])
                grad[0] += given[:beyond].sum(0)
                grad[-1] += given[-beyond:].sum(0)
            start += round_up(dim, 4)


def _count_rows(tables: TableTuple) -> tuple[int, ...]:
    return tuple(0 if table is None else table.shape[0] for table in tables)


def _list_constants(g: Geometry) -> dict[str, int]:
    query, key, value = map(int, g.terms)
    dims = {"D": g.key_dim, "E": g.value_dim}
    padded = {f"{name}2": triton.next_power_of_2(round_up(dim, 4)) for name, dim in dims.items()}
    return {"HAS_QUERY": query, "HAS_KEY": key, "HAS_VALUE": value, **dims, **padded}
