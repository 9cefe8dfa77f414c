"""Position-sensitive axial attention as the paper writes it, in six einsums. This file is the law.

For one line (a row or a column of the feature map), one head, a query at `o` and keys at `p`:

    logit[o, p]  = a1 q[o].k[p]  +  a2 q[o].rq[p - o]  +  a3 k[p].rk[p - o]
    weight[o, p] = softmax over p of logit[o, p]
    content[o]   = sum over p of weight[o, p] v[p]
    position[o]  = sum over p of weight[o, p] rv[p - o]

The scales `a` come from the batch norm on the three similarity terms: a softmax ignores what is constant along `p`, so the
norm's mean and shift cancel and only `gamma / sqrt(variance + eps)` is left. The tables are shared by all heads.

Source: Axial-DeepLab (arXiv 2003.07853), equations 3 and 4.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from axial_deeplab.ops.geometry import compute_visibility, gather_rows


class RelativeTables(NamedTuple):
    """Relative position vectors by signed distance `key - query`, ascending; `None` switches a term off."""

    query: Tensor | None  # [2 * max_distance + 1, key_dim]
    key: Tensor | None  # [2 * max_distance + 1, key_dim]
    value: Tensor | None  # [2 * max_distance + 1, value_dim]


def compute_similarity_terms(q: Tensor, k: Tensor, tables: RelativeTables) -> list[Tensor]:
    """Return the content, query and key terms that are switched on, unscaled, each [line, head, query, key]."""
    length = q.shape[2]
    terms = [torch.einsum("nhod,nhpd->nhop", q, k)]
    if tables.query is not None:
        terms.append(torch.einsum("nhod,opd->nhop", q, gather_rows(tables.query.to(q.dtype), length)))
    if tables.key is not None:
        terms.append(torch.einsum("nhpd,opd->nhop", k, gather_rows(tables.key.to(k.dtype), length)))
    return terms


def compute_attention_weights(
    q: Tensor, k: Tensor, tables: RelativeTables, *, scales: Tensor, span: int | None
) -> Tensor:
    """Return the softmax over the keys that each query sees, float32 or wider, [line, head, query, key]."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    terms = compute_similarity_terms(q, k, tables)
    logits = sum(scale[:, None, None].to(dtype) * term.to(dtype) for scale, term in zip(scales, terms, strict=True))
    assert isinstance(logits, Tensor)  # sum() of at least one term
    visible = compute_visibility(q.shape[2], span, q.device)
    if visible is not None:
        logits = logits.masked_fill(~visible, -torch.inf)
    return logits.softmax(dim=-1)


def axial_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, *, tables: RelativeTables, scales: Tensor, span: int | None
) -> tuple[Tensor, Tensor | None]:
    """Compute `ops.axial_attention` with materialised logits; see there for the contract."""
    weights = compute_attention_weights(q, k, tables, scales=scales, span=span).to(v.dtype)
    content = torch.einsum("nhop,nhpd->nhod", weights, v)
    if tables.value is None:
        return content, None
    rows = gather_rows(tables.value.to(v.dtype), v.shape[2])
    return content, torch.einsum("nhop,opd->nhod", weights, rows)
