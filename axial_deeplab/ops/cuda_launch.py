"""Launch the CUDA kernels: the tensor cores' way to what the Triton kernels compute, in bfloat16.

Same arguments, same results (`triton_launch`), but logits rounded in another way: a call keeps to one kind in both passes.
"""

import ctypes

import torch
from torch import Tensor

from axial_deeplab.ops.cuda_choice import count_processors, get_shared_limit
from axial_deeplab.ops.cuda_compile import launch_kernel, load_kernel
from axial_deeplab.ops.cuda_plan import HEADS, Plan, count_slots, plan_backward, plan_forward
from axial_deeplab.ops.triton_tiles import Geometry, Merge

SHARES_BYTES = 2**26
"""int: Space that shares of the gradients of queries may take, or that of the map if it is larger."""

POINTER, INT = ctypes.c_void_p, ctypes.c_int


def launch_forward_cuda(
    qkv: Tensor,
    packed_rows: Tensor,
    scales: Tensor,
    g: Geometry,
    margin: int,
    *,
    keep_lse: bool = True,
    affine: Tensor | None = None,
    merge: Merge | None = None,
) -> tuple[Tensor, Tensor]:
    """Do what `triton_launch.launch_forward` does; see there.

    With `affine`, float32 [2, channel], the kernel makes `scale * x + shift` of what it loads of `qkv`.
    """
    plan = plan_forward(
        g,
        get_shared_limit(qkv.device),
        keep_lse=keep_lse,
        normed=affine is not None,
        merge=merge is not None,
        relu=merge is not None and merge.relu,
        processors=count_processors(qkv.device),
    )
    assert plan is not None  # as explain_why_not_cuda has found
    retrieved = qkv.new_empty((*qkv.shape[:3], g.count_outputs(merge)))
    lse = scales.new_empty(g.length if keep_lse else 0, g.num_lines * g.num_heads)
    blocks = -(-g.length // plan.positions)
    items = g.num_lines * (g.num_heads // HEADS)
    grid = (_count_slots(items, blocks, plan, qkv.device), blocks, 1)
    given = (qkv, packed_rows, scales, scales if affine is None else affine, scales if merge is None else merge.affine)
    _launch("forward", plan, grid, (*given, retrieved, lse), g, margin)
    return retrieved, lse


def launch_backward_cuda(
    qkv: Tensor,
    packed_rows: Tensor,
    scales: Tensor,
    retrieved: Tensor,
    lse: Tensor,
    grad_retrieved: Tensor,
    g: Geometry,
    margin: int,
    *,
    affine: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `triton_launch.launch_backward` does; see there. With `affine`, the gradient is that of `scale * x + shift`."""
    limit, processors = get_shared_limit(qkv.device), count_processors(qkv.device)
    plan = plan_backward(g, limit, normed=affine is not None, processors=processors)
    assert plan is not None  # as explain_why_not_cuda has found
    blocks, head_blocks = -(-g.length // plan.positions), g.num_heads // HEADS
    grad_qkv = torch.empty_like(qkv)
    query_channels = g.num_heads * g.key_dim
    # Blocks that see only some of the queries leave the shares of the others as they are.
    make = torch.empty if g.sees_all or blocks == 1 else torch.zeros
    needed = blocks * g.length * query_channels * qkv.element_size() if blocks > 1 else 0
    pieces = cut_lines(g, max(SHARES_BYTES, qkv.numel() * qkv.element_size()) // needed if needed else g.num_lines)

    def differentiate(first: int, end: int) -> tuple[Tensor, Tensor]:
        slots = _count_slots(end - first, blocks * head_blocks, plan, qkv.device)
        shape = (blocks, end - first, g.length, query_channels) if blocks > 1 else (0,)
        query_shares = make(shape, dtype=qkv.dtype, device=qkv.device)
        row_shares = scales.new_empty(head_blocks * blocks * slots, 2 * g.reach + 1, g.pitch)
        scale_shares = scales.new_empty(head_blocks, blocks * slots, 3, HEADS)
        given = (qkv, packed_rows, scales, scales if affine is None else affine, retrieved, lse, grad_retrieved)
        tensors = (*given, grad_qkv, query_shares, row_shares, scale_shares)
        _launch("backward", plan, (slots, blocks, head_blocks), tensors, g, margin, first, end)
        if blocks > 1:
            _sum_query_shares(query_shares, grad_qkv[..., :query_channels], first)
        return row_shares if len(pieces) == 1 else row_shares.sum(0, keepdim=True), scale_shares.sum(1)

    rows, of_scales = zip(*(differentiate(*piece) for piece in pieces), strict=True)
    grad_scales = of_scales[0] if len(pieces) == 1 else torch.stack(of_scales).sum(0)
    return grad_qkv, rows[0] if len(pieces) == 1 else torch.cat(rows), grad_scales.transpose(0, 1).flatten(1)


def cut_lines(g: Geometry, most: int) -> list[tuple[int, int]]:
    """Return first and end of runs of lines, at most so many in each (one at least): whole maps, or parts of one map."""
    most = max(1, most)
    step = most // g.inner * g.inner or most
    stride = max(step, g.inner)
    return [
        (first, min(first + step, start + stride, g.num_lines))
        for start in range(0, g.num_lines, stride)
        for first in range(start, min(start + stride, g.num_lines), step)
    ]


def _sum_query_shares(shares: Tensor, target: Tensor, first: int) -> None:
    """Sum [block, line, length, channel] into the lines of [outer, length, inner, channel] from the first one on."""
    inner, lines = target.shape[2], shares.shape[1]
    maps = max(1, lines // inner)
    outer, start = divmod(first, inner)
    part = target[outer : outer + maps, :, start : start + lines // maps]
    torch.sum(shares.unflatten(1, (maps, -1)).transpose(2, 3), 0, out=part)


def _count_slots(items: int, others: int, plan: Plan, device: torch.device) -> int:
    """Return how many blocks share the items; see `cuda_plan.count_slots`."""
    fit = (get_shared_limit(device) + 1024) // (plan.shared_bytes + 1024)
    return count_slots(items, others, count_processors(device) * min(dict(plan.constants)["BLOCKS"], fit))


def _launch(
    name: str,
    plan: Plan,
    grid: tuple[int, int, int],
    tensors: tuple[Tensor, ...],
    g: Geometry,
    margin: int,
    *lines: int,
) -> None:
    device = tensors[0].device
    kernel = load_kernel(name, plan.constants, device.index, plan.shared_bytes)
    numbers = (g.num_lines, g.inner, g.length, g.reach, margin, *lines)
    values = (*(x.data_ptr() for x in tensors), *numbers)
    types = (POINTER,) * len(tensors) + (INT,) * len(numbers)
    stream = torch.cuda.current_stream(device).cuda_stream
    launch_kernel(kernel, grid, plan.threads, plan.shared_bytes, stream, values, types)
