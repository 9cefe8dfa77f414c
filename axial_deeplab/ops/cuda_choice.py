"""Whether the CUDA kernels take a call, or the Triton kernels, and why; `AXIAL_DEEPLAB_LOG=debug` tells."""

import importlib.util
import logging
from functools import lru_cache

import torch

from axial_deeplab.ops.cuda_plan import explain_dims, plan_backward, plan_forward
from axial_deeplab.ops.triton_tiles import Geometry

logger = logging.getLogger("axial_deeplab")

ENOUGH_KEYS = 6
"""int: Keys that a query must see. With 2 or 5, gradients of scales had 2.1 times the plain path's errors."""


@lru_cache(maxsize=1024)
def uses_cuda(device: torch.device, dtype: torch.dtype, g: Geometry, backend: str, *, backward: bool = False) -> bool:
    """Return whether the CUDA kernels run such a call, forward or backward.

    Args:
        device: Where the tensors are.
        dtype: Of the packed map.
        g: The call.
        backend: "cuda", "triton", or "auto", which takes the CUDA kernels wherever they can run.
        backward: Which of the two passes; the backward one needs more shared memory.

    Raises:
        ValueError: If the CUDA kernels were asked for and cannot run; says why.
    """
    if backend == "triton":
        return False
    reason = explain_why_not_cuda(device, dtype, g, backward=backward)
    if reason is None and backend == "auto" and min(2 * g.reach + 1, g.length) < ENOUGH_KEYS:
        reason = (
            "a query sees so few keys that there is nothing to gain, and the gradients of the scales are more exact"
        )
    if reason is not None and backend == "cuda":
        raise ValueError(f"the cuda backend cannot run: {reason}")
    shape = f"{g.key_dim} key and {g.value_dim} value channels a head, {g.length} positions, {dtype} on {device}"
    logger.debug(
        "%s kernels for %s: %s",
        "backward" if backward else "forward",
        shape,
        "cuda" if reason is None else f"triton, because {reason}",
    )
    return reason is None


def explain_why_not_cuda(
    device: torch.device, dtype: torch.dtype, g: Geometry, *, backward: bool = False
) -> str | None:
    """Return why the CUDA kernels cannot take such tensors, or `None` if they can; arguments as in `uses_cuda`."""
    if device.type != "cuda" or torch.version.cuda is None:
        return f"the tensors are on {device.type}, not on a GPU of NVIDIA"
    if dtype != torch.bfloat16:
        return f"the CUDA kernels are for bfloat16, not {dtype}"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "this GPU's tensor cores do not take bfloat16"
    if not _has_bindings():
        return "cuda-bindings is not installed"
    if g.length == 1:
        return "a line of one position has nothing to attend to"
    reason = explain_dims(g.num_heads, g.key_dim, g.value_dim)
    if reason is None:
        limit = get_shared_limit(device)
        plan = plan_backward(g, limit) if backward else plan_forward(g, limit, keep_lse=True)
        if plan is None:
            reason = f"a line of {g.length} positions does not fit into {limit // 1024} KiB of shared memory"
    return reason


@lru_cache(maxsize=1)
def _has_bindings() -> bool:
    try:
        return importlib.util.find_spec("cuda.bindings") is not None
    except ModuleNotFoundError:
        return False


@lru_cache(maxsize=16)
def get_shared_limit(device: torch.device) -> int:
    """Return how many bytes of shared memory a block may have."""
    return int(getattr(torch.cuda.get_device_properties(device), "shared_memory_per_block_optin"))  # noqa: B009  no stub


@lru_cache(maxsize=16)
def count_processors(device: torch.device) -> int:
    """Return how many multiprocessors a GPU has."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
