"""Batch statistics of the three similarity terms in closed form: no length x length map is ever made.

With `V(o)` the keys that query `o` sees, the sums over all visible pairs are, per head,

    content   sum = (sum_o q_o).(sum_p k_p)          squares = <Q^T Q, K^T K>       per line, where all keys are visible
    query     sum = sum_o q_o.s_o                    squares = sum_o q_o^T S_o q_o
    key       sum = sum_p k_p.t_p                    squares = sum_p k_p^T T_p k_p

where `s_o` and `S_o` sum `r` and `r r^T` over the table rows that query `o` meets (`t_p`, `T_p`: that key `p` meets); prefix
sums over the table give them for every position. Under a local span the content term is summed pair by pair.
The results are differentiable: the gradient flows back through the same small matrices.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from axial_deeplab.ops.geometry import (
    compute_reach,
    compute_visibility,
    count_visible_pairs,
    expand_table,
    select_window_ends,
)
from axial_deeplab.ops.reference import RelativeTables


class SimilarityMoments(NamedTuple):
    """Sums over all visible (query, key) pairs of all lines; adding two gives the moments of both batches."""

    sum: Tensor  # float64 [term, head]
    sum_of_squares: Tensor  # float64 [term, head]
    num_pairs: Tensor  # float64 []

    def compute_mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Return the mean and the biased variance, each float64 [term, head]."""
        mean = self.sum / self.num_pairs
        return mean, (self.sum_of_squares / self.num_pairs - mean.square()).clamp_min(0)


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def compute_similarity_moments(q: Tensor, k: Tensor, tables: RelativeTables, *, span: int | None) -> SimilarityMoments:
    """Sum each similarity term and its square over all lines and visible pairs.

    Args:
        q: [line, head, length, key_dim].
        k: [line, head, length, key_dim].
        tables: As in `axial_attention`; terms that are switched off are left out.
        span: As in `axial_attention`.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    q, k = q.to(dtype), k.to(dtype)
    length, reach = q.shape[2], compute_reach(q.shape[2], span)
    sums, squares = _sum_content(q, k, compute_visibility(length, span, q.device))
    # Key p meets distance p - o where a query at p would meet o - p: the key term is the query term of a mirrored table.
    mirrored = None if tables.key is None else tables.key.flip(0)
    terms = [(x, table) for x, table in ((q, tables.query), (k, mirrored)) if table is not None]
    if terms:
        vectors = torch.stack([x for x, _ in terms])  # [term, line, head, length, dim]
        position = _sum_position(vectors, torch.stack([table.to(dtype) for _, table in terms]), reach)
        sums, squares = torch.cat([sums, position[0]]), torch.cat([squares, position[1]])
    num_pairs = torch.full((), q.shape[0] * count_visible_pairs(length, span), dtype=torch.float64, device=q.device)
    return SimilarityMoments(sums, squares, num_pairs)


def _sum_content(q: Tensor, k: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
    if visible is None:
        sums = (q.sum(2) * k.sum(2)).sum(2)
        squares = ((q.mT @ q) * (k.mT @ k)).sum((2, 3))
    else:
        terms = torch.einsum("nhod,nhpd->nhop", q, k) * visible
        sums, squares = terms.sum((2, 3)), terms.square().sum((2, 3))
    return sums.double().sum(0)[None], squares.double().sum(0)[None]  # [1, head]


def _sum_position(vectors: Tensor, tables: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    rows, outer = _sum_visible_rows(tables, vectors.shape[3], reach)
    sums = torch.einsum("tnhod,tod->tnh", vectors, rows)
    squares = (torch.einsum("tnhod,tode->tnhoe", vectors, outer) * vectors).sum((3, 4))
    return sums.double().sum(1), squares.double().sum(1)  # [term, head]


def _sum_visible_rows(tables: Tensor, length: int, reach: int) -> tuple[Tensor, Tensor]:
    """Return the sum of the rows, and of their outer products, over the keys that each query sees.

    Prefix sums differ by little over a long table, so they are kept in float64.
    """
    rows = torch.stack([expand_table(table, length) for table in tables], dim=1).double()  # [distance, term, dim]
    outer = rows[..., :, None] * rows[..., None, :]
    summed = []
    for values in (rows, outer):
        prefix = torch.cat([torch.zeros_like(values[:1]), values.cumsum(0)])
        start, end = select_window_ends(prefix, length, reach)
        summed.append((end - start).to(tables.dtype).transpose(0, 1))
    return summed[0], summed[1]  # [term, length, dim], [term, length, dim, dim]
