"""Statistics of several processes together: what the operators exchange, small and once a pass.

A process counts by its rows: with `ratio` of them, sums over all processes times `ratio` are to its own number of rows what the
sums are to all. Kernels that divide by their rows then need not know of the others. A `ratio` of no element means one process.
"""

import torch
import torch.distributed as dist
from torch import Tensor


def gather(x: Tensor) -> Tensor:
    """Return [process, *]: a tensor of every process, in the same order everywhere."""
    parts = x.new_empty(dist.get_world_size(), *x.shape)
    dist.all_gather(list(parts.unbind()), x)
    return parts


def share_sums(sums: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the sums of all processes, scaled to `count`, and the ratio of `count` in the counts of all, float32 [1].

    Args:
        sums: float64 [value], of this process.
        count: What they are sums over.
    """
    everything = torch.cat([sums, sums.new_full((1,), count)])
    dist.all_reduce(everything)
    ratio = count / everything[-1:]
    return everything[:-1] * ratio, ratio.float()


def share_gradients(grads: Tensor, ratio: Tensor) -> Tensor:
    """Return gradients summed over all processes and scaled by `ratio`; as they are in one process."""
    if ratio.numel() == 0:
        return grads
    total = grads.clone()
    dist.all_reduce(total)
    return total.mul_(ratio)
