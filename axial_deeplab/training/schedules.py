"""The learning rate as a pure function of the step, so that a resumed run continues it exactly."""

import math

from axial_deeplab.training.config import OptimizerConfig


def compute_lr_factor(step: int, *, iterations: int, warmup: int, poly_power: float) -> float:
    """Return the factor on the base learning rate at `step` (0 .. iterations): linear warm-up times polynomial decay.

    The decay counts from step 0 and reaches zero at `iterations`; the warm-up multiplies it and starts above zero, because
    a first step of zero would be wasted.

    Source: Panoptic-DeepLab and deeplab2 (power 0.9).
    """
    decay = max(0.0, 1.0 - step / iterations) ** poly_power
    return decay * min(1.0, (step + 1) / (warmup + 1))


def compute_cosine_factor(step: int, *, iterations: int, warmup: int) -> float:
    """Return the factor on the base learning rate at `step` (0 .. iterations): linear warm-up, then half a cosine to zero.

    The last of `warmup` steps has the full rate.

    Source: csrhddlam/axial-deeplab, lib/utils.py; Stand-Alone Self-Attention (arXiv 1906.05909), appendix A.2.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, iterations - warmup))
    return 0.5 * (1 + math.cos(math.pi * progress))


def compute_factor(step: int, *, optimizer: OptimizerConfig, iterations: int) -> float:
    """Return the factor at `step` by the schedule that the recipe names."""
    if optimizer.schedule == "cosine":
        return compute_cosine_factor(step, iterations=iterations, warmup=optimizer.warmup)
    return compute_lr_factor(step, iterations=iterations, warmup=optimizer.warmup, poly_power=optimizer.poly_power)
