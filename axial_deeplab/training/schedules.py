"""The learning rate as a pure function of the step, so that a resumed run continues it exactly."""


def compute_lr_factor(step: int, *, iterations: int, warmup: int, poly_power: float) -> float:
    """Return the factor on the base learning rate at `step` (0 .. iterations): linear warm-up times polynomial decay.

    The decay counts from step 0 and reaches zero at `iterations`; the warm-up multiplies it and starts above zero, because
    a first step of zero would be wasted.

    Source: Panoptic-DeepLab and deeplab2 (power 0.9).
    """
    decay = max(0.0, 1.0 - step / iterations) ** poly_power
    return decay * min(1.0, (step + 1) / (warmup + 1))
