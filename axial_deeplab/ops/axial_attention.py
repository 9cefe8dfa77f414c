"""The attention op: its contract, its checks, and the choice of a backend."""

import logging
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from axial_deeplab.ops.chunked import attend_packed_chunked, axial_attention_chunked
from axial_deeplab.ops.geometry import compute_reach
from axial_deeplab.ops.layout import pack_heads, restore_lines, unpack_heads
from axial_deeplab.ops.moments import SimilarityMoments, compute_similarity_moments
from axial_deeplab.ops.reference import RelativeTables, axial_attention_reference

__all__ = [
    "Backend",
    "RelativeTables",
    "attend_packed",
    "axial_attention",
    "choose_backend",
    "compute_packed_moments",
    "compute_packed_scales",
]

Backend = Literal["auto", "cuda", "triton", "chunked", "reference"]

logger = logging.getLogger("axial_deeplab")


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
        backend: "reference" materialises the logits; "triton" never does, and needs a GPU; "cuda" neither, on tensor cores, in
            bfloat16; "chunked" has a few lines of them at a time, and no gradients; "auto" takes the fastest that can run.
            `AXIAL_DEEPLAB_LOG=debug` says why.

    Returns:
        The weighted sum of values, and of value positions (`None` without a value table), each
        [line, head, length, value_dim] in the dtype of `v`.

    Raises:
        ValueError: If shapes, terms or the span do not fit together, or the backend cannot run.
    """
    _check(q, k, v, tables, scales)
    compute_reach(q.shape[2], span)
    num_heads, key_dim = q.shape[1], q.shape[3]
    chosen = choose_backend(q, key_dim, v.shape[3], backend)
    if chosen == "triton" and not q.dtype == k.dtype == v.dtype:
        if backend in ("cuda", "triton"):
            raise ValueError(f"the {backend} backend needs q, k and v of one type, got {q.dtype}, {k.dtype}, {v.dtype}")
        chosen = "reference"
    if chosen != "triton":
        return _attend(chosen, q, k, v, tables, scales, span)
    retrieved = attend_packed(
        pack_heads(q, k, v),
        tables=tables,
        scales=scales,
        num_heads=num_heads,
        key_dim=key_dim,
        span=span,
        backend=backend,
    )
    content, *position = unpack_heads(retrieved, num_heads, [v.shape[3]] * (1 + (tables.value is not None)))
    return content, position[0] if position else None


def attend_packed(
    qkv: Tensor,
    *,
    tables: RelativeTables,
    scales: Tensor,
    num_heads: int,
    key_dim: int,
    span: int | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Do what `axial_attention` does for the packed layout (see `ops.layout`), in which nothing is copied.

    Args:
        qkv: [outer, length, inner, num_heads * (2 * key_dim + value_dim)]: the queries of all heads, then keys, then values.
        tables: As in `axial_attention`.
        scales: As in `axial_attention`.
        num_heads: Number of heads.
        key_dim: Channels of a query or key.
        span: As in `axial_attention`.
        backend: As in `axial_attention`.

    Returns:
        [outer, length, inner, channels]: the content that all heads retrieve and, with a value table, the positions.

    Raises:
        ValueError: As `axial_attention`.
    """
    value_dim = _check_packed(qkv, tables, num_heads, key_dim)
    _check_scales(scales, tables, num_heads)
    compute_reach(qkv.shape[1], span)
    chosen = choose_backend(qkv, key_dim, value_dim, backend)
    if chosen == "triton":
        from axial_deeplab.ops.fused import attend_fused

        return attend_fused(qkv, tables, scales, num_heads=num_heads, key_dim=key_dim, span=span, backend=backend)
    if chosen == "chunked":
        return attend_packed_chunked(qkv, tables=tables, scales=scales, num_heads=num_heads, key_dim=key_dim, span=span)
    q, k, v = unpack_heads(qkv, num_heads, [key_dim, key_dim, value_dim])
    retrieved = _attend(chosen, q, k, v, tables, scales, span)
    return restore_lines(pack_heads(*(part for part in retrieved if part is not None)), qkv)


def compute_packed_moments(
    qkv: Tensor,
    tables: RelativeTables,
    *,
    num_heads: int,
    key_dim: int,
    span: int | None = None,
    backend: Backend = "auto",
) -> SimilarityMoments:
    """Do what `compute_similarity_moments` does for the packed layout; arguments are those of `attend_packed`.

    Raises:
        ValueError: As `axial_attention`, and if the query and key tables have different numbers of rows.
    """
    value_dim = _check_packed(qkv, tables, num_heads, key_dim)
    _check_equal_rows(tables)
    if choose_backend(qkv, key_dim, value_dim, backend) == "triton":
        from axial_deeplab.ops.fused import compute_moments_fused

        return compute_moments_fused(qkv, tables, num_heads=num_heads, key_dim=key_dim, span=span)
    q, k, _ = unpack_heads(qkv, num_heads, [key_dim, key_dim, value_dim])
    return compute_similarity_moments(q, k, tables, span=span)


def compute_packed_scales(
    qkv: Tensor,
    tables: RelativeTables,
    weight: Tensor,
    *,
    num_heads: int,
    key_dim: int,
    span: int | None = None,
    eps: float,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a batch norm on the similarity terms comes down to: `weight / sqrt(variance + eps)` of each term and head.

    Args:
        qkv: As in `attend_packed`.
        tables: As in `attend_packed`; those of query and key have the same number of rows.
        weight: [term, head].
        num_heads: Number of heads.
        key_dim: Channels of a query or key.
        span: As in `attend_packed`.
        eps: Added to the variance.
        backend: As in `axial_attention`.

    Returns:
        Scales, mean and biased variance of the batch, each [term, head]; gradients go through the scales only. An empty batch
        has none: they are NaN.

    Raises:
        ValueError: As `compute_packed_moments`.
    """
    value_dim = _check_packed(qkv, tables, num_heads, key_dim)
    _check_equal_rows(tables)
    if choose_backend(qkv, key_dim, value_dim, backend) == "triton" and qkv.numel() > 0:
        from axial_deeplab.ops.similarity_scales import compute_scales_fused

        return compute_scales_fused(qkv, tables, weight, num_heads=num_heads, key_dim=key_dim, span=span, eps=eps)
    q, k, _ = unpack_heads(qkv, num_heads, [key_dim, key_dim, value_dim])
    mean, variance = compute_similarity_moments(q, k, tables, span=span).compute_mean_and_variance()
    return weight * (variance + eps).rsqrt().to(weight.dtype), mean.detach(), variance.detach()


def choose_backend(x: Tensor, key_dim: int, value_dim: int, backend: Backend = "auto") -> Backend:
    """Return the backend that will run for tensors like `x`; "triton" stands for both kinds of kernels.

    Which of the two runs is decided where the shape is known, in the operator.

    Raises:
        ValueError: If the name is unknown, or the backend that was asked for cannot run; says why.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, got {backend!r}")
    if backend == "reference":
        return backend
    differentiates = torch.is_grad_enabled()
    if backend == "chunked":
        if differentiates:
            raise ValueError("the chunked backend has no gradients: use it under torch.no_grad()")
        return backend
    if backend == "auto" and x.device.type != "cuda":
        # A compiler or an exporter would unroll the loop over chunks.
        plain = differentiates or x.device.type != "cpu" or torch.compiler.is_compiling()
        return "reference" if plain else "chunked"
    reason = _explain_why_not_triton(x.device, x.dtype, key_dim, value_dim)
    if reason is not None and backend in ("cuda", "triton"):
        raise ValueError(f"the {backend} backend cannot run: {reason}")
    return "reference" if reason is not None else "triton"


def _attend(
    backend: Backend, q: Tensor, k: Tensor, v: Tensor, tables: RelativeTables, scales: Tensor, span: int | None
) -> tuple[Tensor, Tensor | None]:
    """Attend with one of the backends in PyTorch."""
    attend = axial_attention_chunked if backend == "chunked" else axial_attention_reference
    return attend(q, k, v, tables=tables, scales=scales, span=span)


@torch.compiler.assume_constant_result
def _explain_why_not_triton(device: torch.device, dtype: torch.dtype, key_dim: int, value_dim: int) -> str | None:
    """Return why the kernels cannot run, or `None`; a constant for the compiler, which cannot look inside."""
    return _ask_triton(device, dtype, key_dim, value_dim)


@lru_cache(maxsize=256)
def _ask_triton(device: torch.device, dtype: torch.dtype, key_dim: int, value_dim: int) -> str | None:
    """Answer, and log the answer once for each kind of call."""
    try:
        from axial_deeplab.ops.fused import explain_why_not
    except ImportError as error:
        reason: str | None = f"triton cannot be imported ({error})"
    else:
        reason = explain_why_not(device, dtype, key_dim, value_dim)
    shape = f"{key_dim} key and {value_dim} value channels a head, {dtype} on {device}"
    logger.debug("attention with %s: %s", shape, f"reference, because {reason}" if reason else "triton")
    return reason


def _check(q: Tensor, k: Tensor, v: Tensor, tables: RelativeTables, scales: Tensor) -> None:
    if q.ndim != 4 or q.shape != k.shape or v.ndim != 4 or v.shape[:3] != q.shape[:3]:
        shapes = f"{tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        raise ValueError(f"q, k, v must be [line, head, length, dim] with equal lines, heads and lengths, got {shapes}")
    _check_scales(scales, tables, q.shape[1])
    _check_tables(tables, q.shape[3], v.shape[3])


def _check_packed(qkv: Tensor, tables: RelativeTables, num_heads: int, key_dim: int) -> int:
    """Return the channels of a value."""
    if qkv.ndim != 4 or qkv.shape[3] % num_heads or qkv.shape[3] // num_heads <= 2 * key_dim:
        raise ValueError(
            f"a packed map must be [outer, length, inner, {num_heads} * (2 * {key_dim} + value_dim)], got {tuple(qkv.shape)}"
        )
    value_dim = qkv.shape[3] // num_heads - 2 * key_dim
    _check_tables(tables, key_dim, value_dim)
    return value_dim


def _check_equal_rows(tables: RelativeTables) -> None:
    if tables.query is not None and tables.key is not None and len(tables.query) != len(tables.key):
        raise ValueError(f"query and key table must have the same rows, got {len(tables.query)} and {len(tables.key)}")


def _check_scales(scales: Tensor, tables: RelativeTables, num_heads: int) -> None:
    num_terms = 1 + (tables.query is not None) + (tables.key is not None)
    if scales.shape != (num_terms, num_heads):
        raise ValueError(f"scales must be [{num_terms}, {num_heads}] for these tables, got {tuple(scales.shape)}")


def _check_tables(tables: RelativeTables, key_dim: int, value_dim: int) -> None:
    for name, table, dim in zip(tables._fields, tables, (key_dim, key_dim, value_dim), strict=True):
        if table is not None and (table.ndim != 2 or table.shape[0] % 2 == 0 or table.shape[1] != dim):
            raise ValueError(f"the {name} table must be [odd number of distances, {dim}], got {tuple(table.shape)}")
