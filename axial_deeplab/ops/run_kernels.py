"""One call through whatever kernels can take it: CUDA, else Triton, else plain operations; what the operators are made of."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from axial_deeplab.ops.cuda_choice import uses_cuda
from axial_deeplab.ops.cuda_launch import launch_backward_cuda, launch_forward_cuda
from axial_deeplab.ops.geometry import compute_reach
from axial_deeplab.ops.layout import apply_affine, merge_plainly
from axial_deeplab.ops.triton_fallback import (
    attend_plainly,
    differentiate_plainly,
    differentiate_sums_plainly,
    run_or_fall_back,
    sum_plainly,
)
from axial_deeplab.ops.triton_launch import align, launch_backward, launch_forward
from axial_deeplab.ops.triton_rows import TableTuple, launch_pack, launch_unpack
from axial_deeplab.ops.triton_statistics import launch_content_backward, launch_position_backward, launch_statistics
from axial_deeplab.ops.triton_tiles import Geometry, Merge, compute_margin
from axial_deeplab.ops.triton_wide_launch import launch_wide_statistics_backward

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def run_forward(
    qkv: Tensor,
    tables: TableTuple,
    scales: Tensor,
    g: Geometry,
    span: int | None,
    *,
    keep_lse: bool,
    backend: str,
    affine: Tensor | None = None,
    merge: Merge | None = None,
) -> tuple[Tensor, Tensor]:
    """Do what `attention` does, with whatever kernels can.

    With `affine`, float32 [2, channel], the map is `scale * x + shift`; with `merge` the result ends as that says. Where
    gradients will be wanted both passes run in kernels of one kind: the others round logits in another way, so that weights
    computed from their log-sum-exp would not sum to one.
    """
    margin = compute_margin(g.width)
    scales = scales.float().contiguous()

    def run(launch: Callable[..., tuple[Tensor, Tensor]], qkv: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
        given = (align(qkv), launch_pack(tables, g, margin, qkv.device), scales)
        return launch(*given, g, margin, keep_lse=keep_lse, merge=merge, **options)

    def run_plainly(normed: Tensor) -> tuple[Tensor, Tensor]:
        retrieved, lse = attend_plainly(normed, tables, scales, g, span, keep_lse=keep_lse)
        return (retrieved if merge is None else merge_plainly(retrieved, merge, add_halves=g.terms[2])), lse

    def run_portable() -> tuple[Tensor, Tensor]:
        normed = apply_affine(qkv, affine)
        return run_or_fall_back(
            lambda: run(launch_forward, normed),
            lambda: run_plainly(normed),
            (g.kind, qkv.dtype),
            qkv.device,
        )

    passes = (False, True) if keep_lse else (False,)
    if not all(uses_cuda(qkv.device, qkv.dtype, g, backend, backward=backward) for backward in passes):
        return run_portable()
    run_cuda = partial(run, launch_forward_cuda, qkv, affine=affine)
    return run_or_fall_back(run_cuda, run_portable, ("cuda", g.kind), qkv.device)


def run_backward(
    grad: Tensor,
    qkv: Tensor,
    tables: TableTuple,
    scales: Tensor,
    retrieved: Tensor,
    lse: Tensor,
    g: Geometry,
    span: int | None,
    *,
    backend: str,
    affine: Tensor | None = None,
) -> Gradients:
    """Do what `attention_backward` does, with whatever kernels can; the gradient is that of `scale * x + shift`."""
    margin = compute_margin(g.width)
    scales = scales.float().contiguous()
    grad = align(grad.to(qkv.dtype))

    def run(launch: Callable[..., tuple[Tensor, Tensor, Tensor]], qkv: Tensor, **options: Any) -> Gradients:
        given = (align(qkv), launch_pack(tables, g, margin, qkv.device), scales, align(retrieved), lse, grad)
        grad_qkv, row_shares, grad_scales = launch(*given, g, margin, **options)
        return grad_qkv, *launch_unpack(row_shares, tables, g), grad_scales

    def run_portable() -> Gradients:
        normed = apply_affine(qkv, affine)
        return run_or_fall_back(
            lambda: run(launch_backward, normed),
            lambda: differentiate_plainly(grad, normed, tables, scales, g, span),
            (g.kind, qkv.dtype),
            qkv.device,
        )

    if not uses_cuda(qkv.device, qkv.dtype, g, backend, backward=True):
        return run_portable()
    run_cuda = partial(run, launch_backward_cuda, qkv, affine=affine)
    return run_or_fall_back(run_cuda, run_portable, ("cuda", g.kind), qkv.device)


def run_statistics(
    qkv: Tensor, g: Geometry, span: int | None, affine: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `similarity_statistics` does; of `scale * x + shift` where `affine` is given."""
    return run_or_fall_back(
        lambda: launch_statistics(align(qkv), g, affine),
        lambda: sum_plainly(apply_affine(qkv, affine), g, span),
        ("statistics", g.kind, qkv.dtype),
        qkv.device,
    )


def run_statistics_backward(
    grads: tuple[Tensor, Tensor, Tensor],
    qkv: Tensor,
    g: Geometry,
    span: int | None,
    *,
    affine: Tensor | None = None,
    grad_qkv: Tensor | None = None,
) -> Tensor:
    """Do what `similarity_statistics_backward` does, of `scale * x + shift`; adds to `grad_qkv` if that is given.

    The two shares of the gradient come from a kernel each, or from plain operations each: one that fails has added nothing.
    """
    total = torch.zeros_like(qkv, memory_format=torch.contiguous_format) if grad_qkv is None else grad_qkv
    qkv = align(qkv)

    def add_plainly(used: tuple[bool, bool, bool]) -> None:
        moments, sums, grams = (x if on else torch.zeros_like(x) for x, on in zip(grads, used, strict=True))
        total.add_(differentiate_sums_plainly(apply_affine(qkv, affine), moments, sums, grams, g, span))

    def run(launch: Callable[[], object], kind: str, used: tuple[bool, bool, bool]) -> None:
        run_or_fall_back(launch, partial(add_plainly, used), (kind, g.kind, qkv.dtype), qkv.device)

    moments, sums, grams = grads
    if g.has_wide_keys:
        normed = apply_affine(qkv, affine)
        run(lambda: total.add_(launch_wide_statistics_backward(normed, *grads, g)), "statistics", (True, True, True))
        return total
    position = partial(launch_position_backward, qkv, sums, grams, g, affine, total)
    run(position, "statistics by position", (False, True, True))
    run(partial(launch_content_backward, qkv, moments, g, affine, total), "statistics by line", (True, False, False))
    return total


def describe_call(
    qkv: Tensor, tables: tuple[Tensor | None, ...], num_heads: int, key_dim: int, span: int | None
) -> Geometry:
    """Return what the kernels have to know of a call; see `attention` for the arguments."""
    outer, length, inner, channels = qkv.shape
    query, key, value = (table is not None for table in tables)
    return Geometry(
        num_lines=outer * inner,
        inner=inner,
        length=length,
        reach=compute_reach(length, span),
        num_heads=num_heads,
        key_dim=key_dim,
        value_dim=channels // num_heads - 2 * key_dim,
        terms=(query, key, value),
    )


def spread_scales(scales: Tensor, tables: tuple[Tensor | None, ...]) -> Tensor:
    """Return [3, head]: the scales of all three terms, with anything for those that are switched off."""
    if tables[0] is not None and tables[1] is not None:
        return scales
    order = [0, 1 if tables[0] is not None else 0, len(scales) - 1]
    return torch.stack([scales[index] for index in order])
