"""Who sees whom along an axis, and through which row of a relative position table.

A table with `2 * max_distance + 1` rows holds one vector for every signed distance `key - query` from `-max_distance` to
`max_distance`; larger distances share the rows at its ends. With a span `m`, a query sees the keys at most `(m - 1) / 2` away;
keys outside the image do not exist.
"""

import torch
from torch import Tensor


def compute_reach(length: int, span: int | None) -> int:
    """Return how far a query sees along an axis of `length` positions (`None`: everything).

    Raises:
        ValueError: If `span` is even or not positive: a window has one center.
    """
    if span is None:
        return length - 1
    if span < 1 or span % 2 == 0:
        raise ValueError(f"span must be a positive odd number or None (global), got {span}")
    return min((span - 1) // 2, length - 1)


def count_visible_pairs(length: int, span: int | None) -> int:
    """Return how many pairs of query and key a line has in which the query sees the key."""
    reach = compute_reach(length, span)
    return length * (2 * reach + 1) - reach * (reach + 1)


def compute_visibility(length: int, span: int | None, device: torch.device) -> Tensor | None:
    """Return which key each query sees, or `None` where every query sees every key."""
    reach = compute_reach(length, span)
    if reach == length - 1:
        return None
    position = torch.arange(length, device=device)
    return (position[None, :] - position[:, None]).abs() <= reach  # bool [query, key]


def expand_table(table: Tensor, length: int) -> Tensor:
    """Return the rows for every distance `key - query` from `-(length - 1)` to `length - 1`, ascending.

    Args:
        table: [2 * max_distance + 1, dim], ascending distance, zero distance in the middle.
        length: Number of positions on the axis.
    """
    max_distance = (table.shape[0] - 1) // 2
    beyond = length - 1 - max_distance
    if beyond <= 0:
        return table[-beyond : table.shape[0] + beyond]  # [2 * length - 1, dim]
    return torch.cat([table[:1].expand(beyond, -1), table, table[-1:].expand(beyond, -1)])


def gather_rows(table: Tensor, length: int, queries: slice | None = None) -> Tensor:
    """Return the table's row for each pair, `rows[query, key] = table[key - query]`, of all queries or some.

    Each query meets a window of consecutive rows, one row earlier than the query before it: windows are views, whose gradient
    is a plain sum, where indexing would scatter.
    """
    windows = expand_table(table, length).unfold(0, length, 1)  # [start, dim, key], the last query's first
    start, stop, _ = (queries or slice(None)).indices(length)
    return windows[length - stop : length - start].flip(0).transpose(1, 2)  # [query, key, dim]


def select_window_ends(prefix: Tensor, length: int, reach: int) -> tuple[Tensor, Tensor]:
    """Return a prefix sum over an expanded table before and after the window of rows that each query meets.

    Args:
        prefix: [2 * length, ...], sums of the first 0, 1, ... rows.
        length: Number of positions on the axis.
        reach: How far a query sees.

    Returns:
        Two tensors [length, ...]; their difference sums the rows that each query meets.
    """
    rest = prefix.shape[1:]
    inner = length - reach
    start = prefix[inner - 1 : inner].expand(inner, *rest)
    end = prefix[length + reach : length + reach + 1].expand(inner, *rest)
    near_start = prefix[inner:length].flip(0)  # the first queries see nothing before the border
    near_end = prefix[length : length + reach].flip(0)  # the last ones nothing behind it
    return torch.cat([near_start, start]), torch.cat([end, near_end])
