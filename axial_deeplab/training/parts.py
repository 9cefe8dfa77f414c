"""What a recipe's task decides: the data, how they are loaded, what a step computes, what a checkpoint says."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import lightning.pytorch as pl
from torch import nn

from axial_deeplab.checkpoints.load import CheckpointConfig
from axial_deeplab.errors import InputError
from axial_deeplab.models.catalog import CLASSIFIERS, SEGMENTERS
from axial_deeplab.records import Category
from axial_deeplab.serialization import suggest, to_plain
from axial_deeplab.training.class_config import resolve_epochs
from axial_deeplab.training.class_data_module import ClassDataModule, open_images
from axial_deeplab.training.class_task import ClassificationTask
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.data_module import PanopticDataModule, open_datasets
from axial_deeplab.training.kinds import AnyRecipe
from axial_deeplab.training.tasks import PanopticTask
from axial_deeplab.training.training_task import TrainingTask


class Parts(NamedTuple):
    """What the data of a recipe decide.

    Attributes:
        recipe: With durations in steps.
        categories: The class table.
        num_scored: Images to score.
        make_task: From the network and the fitted recipe to the task.
        make_data: From the fitted recipe to its loaders.
    """

    recipe: AnyRecipe
    categories: tuple[Category, ...]
    num_scored: int
    make_task: Callable[[nn.Module, Any], TrainingTask]
    make_data: Callable[[Any], pl.LightningDataModule]


def check_model(recipe: AnyRecipe) -> None:
    """Raise `InputError` if the recipe names no network of its task."""
    known, what = (SEGMENTERS, "segmentation model") if isinstance(recipe, Recipe) else (CLASSIFIERS, "classifier")
    if recipe.model.name not in known:
        raise InputError(f"model.name {recipe.model.name!r} is no {what}{suggest(recipe.model.name, list(known))}")


def prepare_parts(recipe: AnyRecipe) -> Parts:
    """Open the data of a recipe, and choose what its task needs.

    Raises:
        InputError: If the data are at fault, or the network is for another task.
    """
    check_model(recipe)
    if isinstance(recipe, Recipe):
        train_records, val_records = open_datasets(recipe.data)
        config = describe_checkpoint(recipe, train_records.categories)
        return Parts(
            recipe,
            train_records.categories,
            len(val_records),
            partial(PanopticTask, config=config),
            partial(PanopticDataModule, train_records, val_records),
        )
    train_images, val_images = open_images(recipe.data)
    config = describe_checkpoint(recipe, train_images.categories)
    return Parts(
        resolve_epochs(recipe, len(train_images)),
        train_images.categories,
        len(val_images),
        partial(ClassificationTask, config=config),
        partial(ClassDataModule, train_images, val_images),
    )


def describe_checkpoint(recipe: AnyRecipe, categories: tuple[Category, ...]) -> CheckpointConfig:
    """Return the config of the checkpoints of a run."""
    return CheckpointConfig(
        model=recipe.model.name,
        categories=categories,
        preprocess=to_plain(recipe.preprocess),
        postprocess=to_plain(recipe.postprocess) if isinstance(recipe, Recipe) else None,
        task=recipe.task,
        recipe=to_plain(recipe),
    )
