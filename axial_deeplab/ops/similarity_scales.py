"""The scales of the similarity norm as one operator: what `SimilarityNorm` makes of the moments, in two launches."""

import torch
import triton
from torch import Tensor

from axial_deeplab.ops import triton_scales
from axial_deeplab.ops.geometry import compute_reach, count_visible_pairs
from axial_deeplab.ops.processes import share_gradients, share_sums
from axial_deeplab.ops.reference import RelativeTables
from axial_deeplab.ops.triton_autograd import similarity_statistics
from axial_deeplab.ops.triton_tiles import INTERPRETED, MAX_THREAD_WIDTH


def compute_scales_fused(
    qkv: Tensor, tables: RelativeTables, weight: Tensor, *, num_heads: int, key_dim: int, span: int | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scales of the similarity terms by the statistics of the batch, and these.

    Args:
        qkv: As in `attend_packed`.
        tables: As in `attend_packed`; those of query and key have the same number of rows.
        weight: [term, head] of the norm.
        num_heads: Number of heads.
        key_dim: Channels of a query or key.
        span: As in `attend_packed`.
        eps: Added to the variance.

    Returns:
        float32 [term, head]: scales, mean, biased variance. Gradients go through the scales only.
    """
    moments, sums, grams = similarity_statistics(qkv, num_heads, key_dim, span)
    length, reach = qkv.shape[1], compute_reach(qkv.shape[1], span)
    num_pairs = qkv.shape[0] * qkv.shape[2] * count_visible_pairs(length, span)
    scales, mean, variance, *_ = similarity_scales(
        moments, sums, grams, tables.query, tables.key, weight, num_pairs, reach, eps, False
    )
    return scales, mean, variance


@torch.library.custom_op("axial_deeplab::similarity_scales", mutates_args=())
def similarity_scales(
    moments: Tensor,
    sums: Tensor,
    grams: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    weight: Tensor,
    num_pairs: int,
    reach: int,
    eps: float,
    shared: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return scales, mean, variance; and, for the backward pass, `s` and `S` (see `triton_scales`), and the share of this
    process in all pairs, [1], or [0] if the statistics are its own.

    Args:
        moments: From `similarity_statistics`.
        sums: The same.
        grams: The same.
        query_table: [row, key_dim], or `None`.
        key_table: The same.
        weight: [term, head].
        num_pairs: Visible pairs of all lines.
        reach: How far a query sees.
        eps: Added to the variance.
        shared: Whether the statistics are those of all processes of the default group.
    """
    _, length, heads, dim = sums.shape
    rows_met, products_met = sums.new_empty(2, length, dim), sums.new_empty(2, length, dim, dim)
    shares = sums.new_empty(2, 2, length, heads)
    scales, mean, variance = (sums.new_empty(weight.shape) for _ in range(3))
    present = {"HAS_QUERY": query_table is not None, "HAS_KEY": key_table is not None}
    if any(present.values()):
        query, key, num_rows = _fill_in(query_table, key_table, sums)
        given = (query, key, sums.contiguous(), grams.contiguous(), rows_met, products_met, shares)
        options = present | {"HEADS": heads} | _tile(dim)
        triton_scales.meet_rows[length, 2](*given, length, reach, num_rows, **options)
    ratio = sums.new_empty(0)
    if shared:  # lines may be of another length elsewhere, so positions are summed first
        of_terms = (
            shares.sum(2, dtype=torch.float64) if any(present.values()) else shares.new_zeros(2, 2, heads).double()
        )
        totals, ratio = share_sums(torch.cat([moments.flatten(), of_terms.flatten()]), num_pairs)
        moments, shares, length = totals[: 2 * heads].view(2, heads), totals[2 * heads :].view(2, 2, 1, heads), 1
    outputs = (scales, mean, variance)
    block = {"HEADS": heads, "H2": triton.next_power_of_2(heads), "B": 32}
    triton_scales.finish_scales[(3,)](
        moments, shares, weight.contiguous(), *outputs, length, num_pairs, eps, **present, **block
    )
    return scales, mean, variance, rows_met, products_met, ratio


@similarity_scales.register_fake
def _(
    moments: Tensor,
    sums: Tensor,
    grams: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    weight: Tensor,
    num_pairs: int,
    reach: int,
    eps: float,
    shared: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    _, length, _, dim = sums.shape
    small = [sums.new_empty(weight.shape) for _ in range(3)]
    met = sums.new_empty(2, length, dim), sums.new_empty(2, length, dim, dim)
    return small[0], small[1], small[2], *met, sums.new_empty(int(shared))


@torch.library.custom_op("axial_deeplab::similarity_scales_backward", mutates_args=())
def similarity_scales_backward(
    grad: Tensor,
    mean: Tensor,
    variance: Tensor,
    sums: Tensor,
    grams: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    rows_met: Tensor,
    products_met: Tensor,
    weight: Tensor,
    ratio: Tensor,
    num_pairs: int,
    reach: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of moments, sums, Gram matrices, weight, and both tables (empty for one switched off)."""
    _, length, heads, dim = sums.shape
    grad = share_gradients(grad.contiguous(), ratio)
    grad_moments = sums.new_empty(2, heads, dtype=torch.float64)
    grad_sums, grad_grams = torch.empty_like(sums), torch.empty_like(grams)
    grad_rows_met, grad_products_met = torch.empty_like(rows_met), torch.empty_like(products_met)
    grad_weight = sums.new_empty(weight.shape)
    grad_tables = [sums.new_empty(0 if table is None else table.shape) for table in (query_table, key_table)]
    present = {"HAS_QUERY": query_table is not None, "HAS_KEY": key_table is not None}
    query, key, num_rows = _fill_in(query_table, key_table, sums)
    given = (grad, weight.contiguous(), mean, variance, sums, grams, rows_met, products_met)
    grads = (grad_moments, grad_weight, grad_sums, grad_grams, grad_rows_met, grad_products_met)
    tile = _tile(dim)
    options = present | {"HEADS": heads} | {name: value for name, value in tile.items() if name != "B"}
    sizes = (length, reach, num_rows)
    triton_scales.meet_rows_backward[length, 3](*given, *grads, *sizes, num_pairs, eps, **options)
    if any(present.values()):
        met = (query, key, grad_rows_met, grad_products_met)
        triton_scales.meet_rows_of_tables_backward[num_rows, 2](*met, *grad_tables, *sizes, **present, **tile)
    return grad_moments, grad_sums, grad_grams, grad_weight, grad_tables[0], grad_tables[1]


@similarity_scales_backward.register_fake
def _(
    grad: Tensor,
    mean: Tensor,
    variance: Tensor,
    sums: Tensor,
    grams: Tensor,
    query_table: Tensor | None,
    key_table: Tensor | None,
    rows_met: Tensor,
    products_met: Tensor,
    weight: Tensor,
    ratio: Tensor,
    num_pairs: int,
    reach: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    moments = sums.new_empty(2, sums.shape[2], dtype=torch.float64)
    tables = [sums.new_empty(0 if table is None else table.shape) for table in (query_table, key_table)]
    return moments, torch.empty_like(sums), torch.empty_like(grams), sums.new_empty(weight.shape), tables[0], tables[1]


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: tuple) -> None:
    _, sums, grams, query_table, key_table, weight, *options, _ = inputs
    ctx.options = options  # type: ignore[attr-defined]
    _, mean, variance, rows_met, products_met, ratio = output
    ctx.save_for_backward(mean, variance, sums, grams, query_table, key_table, rows_met, products_met, weight, ratio)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad: Tensor | None, *_: Tensor | None) -> tuple:
    if grad is None:
        return (None,) * 10
    saved = ctx.saved_tensors  # type: ignore[attr-defined]
    options = ctx.options  # type: ignore[attr-defined]
    grad_moments, grad_sums, grad_grams, grad_weight, *grad_tables = similarity_scales_backward(grad, *saved, *options)
    tables = [
        None if table is None else grad_table.to(table.dtype)
        for table, grad_table in zip(saved[4:6], grad_tables, strict=True)
    ]
    return grad_moments, grad_sums, grad_grams, *tables, grad_weight.to(saved[8].dtype), None, None, None, None


similarity_scales.register_autograd(_differentiate, setup_context=_save)


def _fill_in(query_table: Tensor | None, key_table: Tensor | None, other: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return both tables, something else where one is switched off, and the number of their rows."""
    present = [table.contiguous() for table in (query_table, key_table) if table is not None] or [other]
    query = present[0] if query_table is not None else other
    key = present[-1] if key_table is not None else other
    return query, key, present[0].shape[0]


def _tile(dim: int) -> dict[str, int]:
    """Return the constants of kernels that hold a block of rows and their outer products."""
    padded = triton.next_power_of_2(dim)
    tile = {"D": dim, "D2": padded, "B": max(1, min(64, 4096 // padded**2))}
    # The outer product of a wide row fills the registers of many threads.
    return tile | {"num_warps": 16} if dim > MAX_THREAD_WIDTH and not INTERPRETED else tile
