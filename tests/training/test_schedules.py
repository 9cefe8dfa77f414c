"""The learning rate factor at the points that define it."""

import pytest

from axial_deeplab.training.schedules import compute_lr_factor


def factor(step: int, *, warmup: int = 0, iterations: int = 100, power: float = 0.9) -> float:
    return compute_lr_factor(step, iterations=iterations, warmup=warmup, poly_power=power)


def test_decay_starts_at_one_and_ends_at_zero() -> None:
    assert factor(0) == 1.0
    assert factor(100) == 0.0
    assert factor(50) == pytest.approx(0.5**0.9)


def test_warmup_rises_linearly_and_then_leaves_the_decay_alone() -> None:
    rising = [factor(step, warmup=3, power=0.0) for step in range(5)]
    assert rising == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert factor(60, warmup=10) == factor(60)


def test_steps_beyond_the_end_stay_at_zero() -> None:
    assert factor(101) == 0.0
