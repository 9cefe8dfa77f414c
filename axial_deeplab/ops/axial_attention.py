"""The attention op: its contract, its checks, and the choice of a backend."""

from typing import Literal, get_args

from torch import Tensor

from axial_deeplab.ops.geometry import compute_reach
from axial_deeplab.ops.reference import RelativeTables, axial_attention_reference

__all__ = ["Backend", "RelativeTables", "axial_attention"]

Backend = Literal["auto", "reference"]


def axial_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    tables: RelativeTables,
    scales: Tensor,
    span: int | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor | None]:
    """Attend along one axis with relative positions in query, key and value.

    Args:
        q: [line, head, length, key_dim].
        k: [line, head, length, key_dim].
        v: [line, head, length, value_dim].
        tables: Relative position tables, shared by the heads; distances beyond a table use its end rows.
        scales: [term, head], one row for the content term, then one for each of the query and key terms switched on.
        span: Number of keys a query sees, itself in the middle; odd, or `None` for all.
        backend: "reference" materialises the logits; "auto" takes the fastest that can run, now the same.

    Returns:
        The weighted sum of values, and of value positions (`None` without a value table), each
        [line, head, length, value_dim] in the dtype of `v`.

    Raises:
        ValueError: If shapes, terms or the span do not fit together.
    """
    _check(q, k, v, tables, scales)
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
    compute_reach(q.shape[2], span)
    return axial_attention_reference(q, k, v, tables=tables, scales=scales, span=span)


def _check(q: Tensor, k: Tensor, v: Tensor, tables: RelativeTables, scales: Tensor) -> None:
    if q.ndim != 4 or q.shape != k.shape or v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        shapes = f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        raise ValueError(f"q, k, v must be [line, head, length, dim] with equal lines, heads and lengths, got {shapes}")
    num_terms = 1 + (tables.query is not None) + (tables.key is not None)
    if scales.shape != (num_terms, q.shape[1]):
        raise ValueError(f"scales must be [{num_terms}, {q.shape[1]}] for these tables, got {tuple(scales.shape)}")
    for name, table, dim in zip(tables._fields, tables, (q.shape[3], q.shape[3], v.shape[3]), strict=True):
        if table is not None and (table.ndim != 2 or table.shape[0] % 2 == 0 or table.shape[1] != dim):
            raise ValueError(f"the {name} table must be [odd number of distances, {dim}], got {tuple(table.shape)}")
