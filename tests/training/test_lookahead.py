"""Lookahead against its algorithm by hand, under a schedule, and continued from a checkpoint."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from axial_deeplab.training.config import OptimizerConfig
from axial_deeplab.training.optimizers import build_optimizer

PERIOD, RATE = 3, 0.4
NAMES = ("adam", "adamw", "radam", "sgd")


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def make_optimizer(model: nn.Module, name: str, *, lookahead: int) -> tuple[Optimizer, LambdaLR]:
    config = OptimizerConfig(name, lr=0.1, weight_decay=0.01, lookahead=lookahead, lookahead_rate=RATE)  # type: ignore[arg-type]
    optimizer = build_optimizer(model, config)
    return optimizer, LambdaLR(optimizer, lambda step: 1 / (1 + step))


def take_step(model: nn.Module, optimizer: Optimizer, schedule: LambdaLR, step: int) -> None:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    optimizer.zero_grad()
    (model(x) - x.sum(1, keepdim=True)).square().mean().backward()
    optimizer.step()
    schedule.step()


@pytest.mark.parametrize("name", NAMES)
def test_every_period_the_slow_weights_follow_and_the_fast_ones_return(name: str) -> None:
    model, other = make_model(), make_model()
    ours, plain = make_optimizer(model, name, lookahead=PERIOD), make_optimizer(other, name, lookahead=0)
    slow = [parameter.detach().clone() for parameter in other.parameters()]
    for step in range(2 * PERIOD + 1):
        take_step(model, *ours, step)
        take_step(other, *plain, step)
        if (step + 1) % PERIOD == 0:
            with torch.no_grad():
                for kept, parameter in zip(slow, other.parameters(), strict=True):
                    kept += RATE * (parameter - kept)
                    parameter.copy_(kept)
        for mine, expected in zip(model.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_holds_slow_weights_and_steps(name: str) -> None:
    model = make_model()
    optimizer, schedule = make_optimizer(model, name, lookahead=PERIOD)
    for step in range(2):
        take_step(model, optimizer, schedule, step)
    resumed = make_model()
    resumed.load_state_dict(model.state_dict())
    again, schedule_again = make_optimizer(resumed, name, lookahead=PERIOD)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    schedule_again.load_state_dict(schedule.state_dict())
    for step in range(2, 8):
        take_step(model, optimizer, schedule, step)
        take_step(resumed, again, schedule_again, step)
    for mine, expected in zip(resumed.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, expected)


def test_a_parameter_that_joins_later_starts_from_where_it_was() -> None:
    early, late = nn.Linear(2, 2), nn.Linear(2, 2)
    model = nn.Sequential(early, late)
    optimizer = build_optimizer(model, OptimizerConfig("radam", lr=0.1, lookahead=1, lookahead_rate=1e-9))
    start = [parameter.detach().clone() for parameter in model.parameters()]
    for parts in ([early], [early, late]):
        optimizer.zero_grad()
        sum(part(torch.ones(1, 2)).sum() for part in parts).backward()  # type: ignore[union-attr]
        optimizer.step()
    for parameter, expected in zip(model.parameters(), start, strict=True):
        torch.testing.assert_close(parameter, expected)
