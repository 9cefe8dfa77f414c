"""What a recipe becomes on the devices at hand."""

from dataclasses import replace
from typing import TypeVar

from axial_deeplab.training.config import RunConfig

AnyRecipe = TypeVar("AnyRecipe", bound=RunConfig)


def fit_to_hardware(recipe: AnyRecipe, world_size: int) -> AnyRecipe:
    """Scale learning rate and durations from the reference batch to the real one, and round to whole validation rounds.

    With an effective batch k times the reference, the learning rate is k times higher and everything counted in
    iterations k times shorter, so that the images seen stay the same.
    """
    factor = recipe.batch_size * recipe.accumulate * world_size / recipe.reference_batch
    iterations = max(1, round(recipe.iterations / factor))
    rounds = max(1, round(recipe.iterations / recipe.val_every))
    val_every = max(1, iterations // rounds)
    optimizer = replace(
        recipe.optimizer, lr=recipe.optimizer.lr * factor, warmup=round(recipe.optimizer.warmup / factor)
    )
    # A whole number of rounds: the last step is scored too.
    iterations = val_every * max(1, iterations // val_every)
    return replace(recipe, optimizer=optimizer, iterations=iterations, val_every=val_every)


def describe_fit(recipe: RunConfig, fitted: RunConfig, world_size: int) -> str:
    """Say in one line what `fit_to_hardware` did."""
    batch = recipe.batch_size * recipe.accumulate * world_size
    return (
        f"batch {recipe.batch_size} x {recipe.accumulate} accumulated x {world_size} devices = {batch} images "
        f"(reference {recipe.reference_batch}): lr {fitted.optimizer.lr:.3g}, {fitted.iterations} steps, "
        f"warm-up {fitted.optimizer.warmup}, scored every {fitted.val_every}"
    )


def describe_small_statistics(recipe: RunConfig, world_size: int) -> str | None:
    """Return a warning where batch norm would see too few images to have useful statistics."""
    images = recipe.batch_size * world_size
    if recipe.model.norm == "frozen" or images >= 4:
        return None
    return (
        f"batch norm sees {images} images at a time, fewer than 4: its statistics will be poor; raise batch_size, or "
        "start from a checkpoint with --model.init and keep its statistics with --model.norm frozen"
    )
