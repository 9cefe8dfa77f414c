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
    slots = _count_slots(g.num_lines, blocks * head_blocks, plan, qkv.device)
    grad_qkv = torch.empty_like(qkv)
    query_channels = g.num_heads * g.key_dim
    # Blocks that see only some of the queries leave the shares of the others as they are.
    make = torch.empty if g.sees_all or blocks == 1 else torch.zeros
    query_shares = make(
        (blocks if blocks > 1 else 0, *qkv.shape[:3], query_channels), dtype=qkv.dtype, device=qkv.device
    )
    row_shares = scales.new_empty(head_blocks * blocks * slots, 2 * g.reach + 1, g.pitch)
    scale_shares = scales.new_empty(head_blocks, blocks * slots, 3, HEADS)
    tensors = (
        qkv,
        packed_rows,
        scales,
        scales if affine is None else affine,
        retrieved,
        lse,
        grad_retrieved,
        grad_qkv,
        query_shares,
        row_shares,
        scale_shares,
    )
    _launch("backward", plan, (slots, blocks, head_blocks), tensors, g, margin)
    if blocks > 1:
        grad_qkv[..., :query_channels] = query_shares.sum(0)
    return grad_qkv, row_shares, scale_shares.sum(1).transpose(0, 1).flatten(1)


def _count_slots(items: int, others: int, plan: Plan, device: torch.device) -> int:
    """Return how many blocks share the items; see `cuda_plan.count_slots`."""
    fit = (get_shared_limit(device) + 1024) // (plan.shared_bytes + 1024)
    return count_slots(items, others, count_processors(device) * min(dict(plan.constants)["BLOCKS"], fit))


def _launch(
    name: str, plan: Plan, grid: tuple[int, int, int], tensors: tuple[Tensor, ...], g: Geometry, margin: int
) -> None:
    device = tensors[0].device
    kernel = load_kernel(name, plan.constants, device.index, plan.shared_bytes)
    numbers = (g.num_lines, g.inner, g.length, g.reach, margin)
    values = (*(x.data_ptr() for x in tensors), *numbers)
    types = (POINTER,) * len(tensors) + (INT,) * len(numbers)
    stream = torch.cuda.current_stream(device).cuda_stream
    launch_kernel(kernel, grid, plan.threads, plan.shared_bytes, stream, values, types)
