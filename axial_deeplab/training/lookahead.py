"""Lookahead: slow weights that follow the optimizer's, and pull it back to themselves every few steps."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

SLOW = "slow_weight"
"""str: Where the optimizer's state of a parameter keeps its slow weight, so that checkpoints hold it."""

COUNT = "lookahead_steps"
"""str: Where its groups keep the number of steps taken."""


def add_lookahead(optimizer: Optimizer, *, period: int, rate: float) -> None:
    """Make every `period`-th step of an optimizer move the slow weights by `rate` to the fast ones, and these onto them.

    Slow weights begin as the weights before a parameter's first step. The optimizer itself is not wrapped: schedules, hooks
    and checkpoints work as without.

    Args:
        optimizer: Any of `torch.optim`.
        period: Steps between two pulls, at least 1; `k` of the paper.
        rate: Share of the way that the slow weights move, in 0 .. 1; `alpha` of the paper.

    Source: Lookahead Optimizer (arXiv 1907.08610), algorithm 1.
    """
    begun: dict[Tensor, Tensor] = {}
    for group in optimizer.param_groups:
        group[COUNT] = 0

    @torch.no_grad()
    def keep_start(*_: Any) -> None:
        for parameter in _list_moved(optimizer):
            if SLOW not in optimizer.state.get(parameter, {}):
                begun[parameter] = parameter.detach().clone()

    @torch.no_grad()
    def pull_back(*_: Any) -> None:
        # Kept only now: optimizers take a state that is not empty for one that they have set up.
        for parameter, value in begun.items():
            optimizer.state[parameter][SLOW] = value
        begun.clear()
        for group in optimizer.param_groups:
            group[COUNT] += 1
            moved = [parameter for parameter in group["params"] if SLOW in optimizer.state.get(parameter, {})]
            if group[COUNT] % period or not moved:
                continue
            slow = [optimizer.state[parameter][SLOW] for parameter in moved]
            torch._foreach_lerp_(slow, moved, rate)
            torch._foreach_copy_(moved, slow)

    optimizer.register_step_pre_hook(keep_start)
    optimizer.register_step_post_hook(pull_back)


def _list_moved(optimizer: Optimizer) -> list[Tensor]:
    """Return the parameters that the next step moves."""
    return [
        parameter for group in optimizer.param_groups for parameter in group["params"] if parameter.grad is not None
    ]
