"""Equations 2 and 3 of the paper, in a two-dimensional window, with loops over positions, heads and keys, in float64."""

import math

import torch
from torch import Tensor

from axial_deeplab.ops import RelativeTables


def look_up(table: Tensor, rows: int, columns: int) -> Tensor:
    """Return the vector of an offset: the half of its rows, then the half of its columns."""
    reach = table.shape[1] // 2
    return torch.cat([table[0, rows + reach], table[1, columns + reach]])


def list_keys(y: int, x: int, size: tuple[int, int], window: int) -> list[tuple[int, int]]:
    """Return the positions of the map that the window around a query holds."""
    reach = window // 2
    rows = range(max(0, y - reach), min(size[0], y + reach + 1))
    columns = range(max(0, x - reach), min(size[1], x + reach + 1))
    return [(row, column) for row in rows for column in columns]


def list_terms(q: Tensor, k: Tensor, tables: RelativeTables, window: int) -> list[list[list[float]]]:
    """Return by head the terms of every query and each key that it sees: [head][pair][term]; q and k are [head, dim, y, x]."""
    heads, _, height, width = q.shape
    return [
        [
            pair_terms(q[h, :, y, x], k[h, :, row, column], tables, row - y, column - x)
            for y in range(height)
            for x in range(width)
            for row, column in list_keys(y, x, (height, width), window)
        ]
        for h in range(heads)
    ]


def pair_terms(q: Tensor, k: Tensor, tables: RelativeTables, rows: int, columns: int) -> list[float]:
    """Return the similarity terms of one query and one key."""
    terms = [float(q @ k)]
    if tables.query is not None:
        terms.append(float(q @ look_up(tables.query, rows, columns)))
    if tables.key is not None:
        terms.append(float(k @ look_up(tables.key, rows, columns)))
    return terms


def attend_in_window(
    q: Tensor, k: Tensor, v: Tensor, tables: RelativeTables, scales: Tensor, window: int
) -> tuple[Tensor, Tensor]:
    """Return the retrieved values and positions [head, value_dim, y, x] of one image; q, k and v are [head, dim, y, x]."""
    heads, _, height, width = q.shape
    content, position = torch.zeros_like(v), torch.zeros_like(v)
    for h in range(heads):
        for y in range(height):
            for x in range(width):
                keys = list_keys(y, x, (height, width), window)
                logits = []
                for row, column in keys:
                    terms = pair_terms(q[h, :, y, x], k[h, :, row, column], tables, row - y, column - x)
                    logits.append(sum(float(a) * term for a, term in zip(scales[:, h], terms, strict=True)))
                total = sum(math.exp(logit) for logit in logits)
                for (row, column), logit in zip(keys, logits, strict=True):
                    weight = math.exp(logit) / total
                    content[h, :, y, x] += weight * v[h, :, row, column]
                    if tables.value is not None:
                        position[h, :, y, x] += weight * look_up(tables.value, row - y, column - x)
    return content, position
