"""What a recipe becomes on the devices at hand."""

from dataclasses import replace
from typing import TypeVar

from torch import nn

from axial_deeplab.layers.normalization import BatchNorm, SimilarityNorm
from axial_deeplab.training.config import RunConfig

OneRecipe = TypeVar("OneRecipe", bound=RunConfig)


def fit_to_hardware(recipe: OneRecipe, world_size: int) -> OneRecipe:
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


def describe_small_statistics(model: nn.Module, images: int) -> str | None:
    """Return a warning where norms of a network in training mode see too few images at a time to have useful statistics."""
    norms = [module for module in model.modules() if isinstance(module, BatchNorm | SimilarityNorm)]
    if images >= 4 or not any(norm.uses_batch_statistics for norm in norms):
        return None
    return (
        f"batch norm sees {images} images at a time, fewer than 4: its statistics will be poor; raise batch_size, or "
        "start from a checkpoint with --model.init and keep its statistics with --model.norm frozen"
    )
