"""Where a kernel cannot be built or does not fit a GPU: one warning, then plain operations behind the same operator."""

import warnings
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from subprocess import CalledProcessError
from typing import TypeVar

import torch
from torch import Tensor
from triton.compiler.errors import CompilationError
from triton.runtime.errors import OutOfResources, PTXASError

from axial_deeplab.ops.cuda_compile import CompileError
from axial_deeplab.ops.geometry import compute_visibility, gather_rows
from axial_deeplab.ops.layout import pack_heads, restore_lines, unpack_heads
from axial_deeplab.ops.reference import (
    RelativeTables,
    axial_attention_reference,
    compute_attention_weights,
    compute_similarity_terms,
)
from axial_deeplab.ops.triton_rows import TableTuple, fold_rows
from axial_deeplab.ops.triton_tiles import Geometry, round_up

T = TypeVar("T")

FAILURES = (CompileError, CompilationError, OutOfResources, PTXASError, CalledProcessError)
_failed: set[Hashable] = set()


def run_or_fall_back(fused: Callable[[], T], plain: Callable[[], T], kind: Hashable, device: torch.device) -> T:
    """Return what `fused` returns, or what `plain` returns once a kernel for this kind of call has failed.

    Args:
        fused: Launches kernels.
        plain: Computes the same without.
        kind: What the kernels are compiled for; forward and backward of one call have the same.
        device: Where the tensors are: kernels are launched there, whichever device is the current one.
    """
    if (kind, device) not in _failed:
        try:
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                return fused()
        except Exception as error:
            if not _is_failure(error):
                raise
            _failed.add((kind, device))
            reason = str(error).strip().splitlines()[-1:]
            warnings.warn(
                f"a kernel cannot run on this GPU ({type(error).__name__}: {' '.join(reason)}); attention of this shape goes "
                "on without it, slower",
                stacklevel=2,
            )
    return plain()


def _is_failure(error: Exception) -> bool:
    """Return whether the kernel, and not its input or the GPU's memory, is what went wrong."""
    no_compiler = type(error) is RuntimeError and "compiler" in str(error)  # Triton builds its launcher with one
    return no_compiler or isinstance(error, FAILURES)


def attend_plainly(
    qkv: Tensor, tables: TableTuple, scales: Tensor, g: Geometry, span: int | None, *, keep_lse: bool
) -> tuple[Tensor, Tensor]:
    """Return what the forward kernel would, but for the values of the log-sum-exp, which nobody reads then."""
    q, k, v = unpack_heads(qkv, g.num_heads, [g.key_dim, g.key_dim, g.value_dim])
    present = [0, *(term for term, on in enumerate(g.terms[:2], start=1) if on)]
    parts = axial_attention_reference(q, k, v, tables=RelativeTables(*tables), scales=scales[present], span=span)
    retrieved = restore_lines(pack_heads(*(part for part in parts if part is not None)), qkv).contiguous()
    return retrieved, torch.zeros(g.length if keep_lse else 0, g.num_lines * g.num_heads, device=qkv.device)


def differentiate_plainly(
    grad: Tensor, qkv: Tensor, given: TableTuple, scales: Tensor, g: Geometry, span: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return what the backward kernels would, by the same formulas (an operator cannot use autograd inside)."""
    q, k, v = (x.float() for x in unpack_heads(qkv, g.num_heads, [g.key_dim, g.key_dim, g.value_dim]))
    tables = RelativeTables(*(None if table is None else table.float() for table in given))
    met = [None if table is None else gather_rows(table, g.length) for table in tables]  # [query, key, dim]
    present = [0, *(term for term, on in enumerate(g.terms[:2], start=1) if on)]
    weights = compute_attention_weights(q, k, tables, scales=scales[present].float(), span=span)
    grad_content, *grad_position = (
        x.float() for x in unpack_heads(grad, g.num_heads, [g.value_dim] * (1 + g.terms[2]))
    )
    grad_weights = grad_content @ v.mT
    if met[2] is not None:
        grad_weights += torch.einsum("nhod,opd->nhop", grad_position[0], met[2])
    grad_logits = weights * (grad_weights - (weights * grad_weights).sum(-1, keepdim=True))

    scaled = [scale[:, None, None].float() * grad_logits for scale in scales]  # [line, head, query, key] of each term
    grad_q, grad_k, grad_v = scaled[0] @ k, scaled[0].mT @ q, weights.mT @ grad_content
    grad_rows = []
    if met[0] is not None:
        grad_q += torch.einsum("nhop,opd->nhod", scaled[1], met[0])
        grad_rows.append(_sum_by_distance(torch.einsum("nhop,nhod->opd", scaled[1], q), g.reach))
    if met[1] is not None:
        grad_k += torch.einsum("nhop,opd->nhpd", scaled[2], met[1])
        grad_rows.append(_sum_by_distance(torch.einsum("nhop,nhpd->opd", scaled[2], k), g.reach))
    if met[2] is not None:
        grad_rows.append(_sum_by_distance(torch.einsum("nhop,nhod->opd", weights, grad_position[0]), g.reach))
    grad_scales = torch.zeros_like(scales, dtype=torch.float32)
    for term, similarity in zip(present, compute_similarity_terms(q, k, tables), strict=True):
        grad_scales[term] = (grad_logits * similarity).sum((0, 2, 3))
    grad_qkv = restore_lines(pack_heads(grad_q, grad_k, grad_v), qkv).to(qkv.dtype).contiguous()
    grads = [grad_scales.new_empty(0 if table is None else table.shape) for table in tables]
    if grad_rows:
        fold_rows(torch.cat(grad_rows, dim=1), grads, g)
    return grad_qkv, grads[0], grads[1], grads[2], grad_scales


def sum_plainly(qkv: Tensor, g: Geometry, span: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the kernels of the batch statistics would."""
    q, k, products = _multiply_visible(qkv, g, span)
    moments = torch.stack([products.sum((0, 2, 3)), products.square().sum((0, 2, 3))]).double()
    vectors = torch.stack([q, k])  # [part, line, head, position, dim]
    grams = torch.einsum("tnhod,tnhoe->tohde", vectors, vectors)
    return moments, vectors.sum(1).transpose(1, 2).contiguous(), grams


def differentiate_sums_plainly(
    qkv: Tensor, grad_moments: Tensor, grad_sums: Tensor, grad_grams: Tensor, g: Geometry, span: int | None
) -> Tensor:
    """Return the gradient of `sum_plainly`."""
    q, k, products = _multiply_visible(qkv, g, span)
    grad_sum, grad_squares = grad_moments.float()[:, :, None, None]
    grad = grad_sum + 2 * grad_squares * products
    visible = compute_visibility(g.length, span, qkv.device)
    if visible is not None:
        grad = grad * visible
    symmetric = grad_grams + grad_grams.mT
    grads = [grad @ k, grad.mT @ q]
    for part, x in enumerate((q, k)):
        grads[part] += grad_sums[part].transpose(0, 1) + torch.einsum("nhod,ohde->nhoe", x, symmetric[part])
    grad_values = qkv.new_zeros(*q.shape[:3], g.value_dim)
    return restore_lines(pack_heads(*grads, grad_values.float()), qkv).to(qkv.dtype).contiguous()


def _multiply_visible(qkv: Tensor, g: Geometry, span: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and their products [line, head, query, key], zero where a query does not see a key."""
    q, k, _ = (x.float() for x in unpack_heads(qkv, g.num_heads, [g.key_dim, g.key_dim, g.value_dim]))
    visible = compute_visibility(g.length, span, qkv.device)
    products = q @ k.mT
    return q, k, products if visible is None else products * visible


def _sum_by_distance(values: Tensor, reach: int) -> Tensor:
    """Sum [query, key, dim] over all pairs of one distance: [2 * reach + 1, dim, padded to a multiple of four]."""
    length, _, dim = values.shape
    position = torch.arange(length, device=values.device)
    distance = position[None, :] - position[:, None]
    seen = distance.abs() <= reach
    total = values.new_zeros(2 * reach + 1, round_up(dim, 4))
    total[:, :dim].index_add_(0, distance[seen] + reach, values[seen])
    return total
