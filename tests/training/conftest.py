"""A recipe small enough to run in a second, and Lightning's warnings that concern nobody."""

import dataclasses

import pytest

from axial_deeplab.training.config import Recipe
from axial_deeplab.training.recipes import RECIPES


@pytest.fixture
def tiny_recipe() -> Recipe:
    """Six steps of two small scenes, scored after every second one."""
    recipe = RECIPES["scenes_small"]()
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, scene_size=64, train_scenes=5, val_scenes=2, workers=0),
        augment=dataclasses.replace(recipe.augment, crop_size=(65, 65)),
        optimizer=dataclasses.replace(recipe.optimizer, warmup=1, lookahead=4),
        iterations=6,
        batch_size=2,
        reference_batch=2,
        val_every=2,
        ema_decay=0.5,
    )
