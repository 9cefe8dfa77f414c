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
    if length - 1 <= max_distance:
        return table[max_distance - length + 1 : max_distance + length]  # [2 * length - 1, dim]
    distance = torch.arange(1 - length, length, device=table.device)
    return table[distance.clamp(-max_distance, max_distance) + max_distance]


def gather_rows(table: Tensor, length: int) -> Tensor:
    """Return the table's row for each pair, `rows[query, key] = table[key - query]`."""
    position = torch.arange(length, device=table.device)
    index = position[None, :] - position[:, None] + length - 1
    return expand_table(table, length)[index]  # [query, key, dim]
