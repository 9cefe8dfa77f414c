"""Equation 4 of the paper with loops over lines, heads, queries and keys, in float64."""

import math

import torch
from torch import Tensor

from axial_deeplab.ops import RelativeTables


def look_up(table: Tensor, distance: int) -> Tensor:
    """Return the row for a signed distance, the end rows standing in for larger ones."""
    max_distance = (len(table) - 1) // 2
    return table[min(max(distance, -max_distance), max_distance) + max_distance]


def attend_with_loops(
    q: Tensor, k: Tensor, v: Tensor, tables: RelativeTables, scales: Tensor, span: int | None
) -> tuple[Tensor, Tensor]:
    """Return the retrieved values and positions, each [line, head, length, value_dim]."""
    lines, heads, length, _ = q.shape
    content, position = torch.zeros_like(v), torch.zeros_like(v)
    for n in range(lines):
        for h in range(heads):
            for o in range(length):
                seen = [p for p in range(length) if span is None or abs(p - o) <= (span - 1) // 2]
                logits = []
                for p in seen:
                    terms = [q[n, h, o] @ k[n, h, p]]
                    if tables.query is not None:
                        terms.append(q[n, h, o] @ look_up(tables.query, p - o))
                    if tables.key is not None:
                        terms.append(k[n, h, p] @ look_up(tables.key, p - o))
                    logits.append(sum(float(a) * float(t) for a, t in zip(scales[:, h], terms, strict=True)))
                largest = max(logits)
                exponentials = [math.exp(x - largest) for x in logits]
                for p, weight in zip(seen, exponentials, strict=True):
                    content[n, h, o] += weight / sum(exponentials) * v[n, h, p]
                    if tables.value is not None:
                        position[n, h, o] += weight / sum(exponentials) * look_up(tables.value, p - o)
    return content, position
