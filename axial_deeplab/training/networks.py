"""The network of a recipe: built, its norms set up for the batch it will see, perhaps started from a checkpoint."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from axial_deeplab.checkpoints.position_rows import find_crop
from axial_deeplab.checkpoints.sources import read_source
from axial_deeplab.checkpoints.transfer import Colors, transfer_weights
from axial_deeplab.checkpoints.transfer_report import TransferReport
from axial_deeplab.layers.convolution import ConvNormAdd
from axial_deeplab.layers.normalization import BatchNorm, SimilarityNorm, freeze_norms, synchronize_norms
from axial_deeplab.models import build_model
from axial_deeplab.models.encoder import configure_encoder
from axial_deeplab.records import Category
from axial_deeplab.serialization import to_plain
from axial_deeplab.training.config import ModelConfig
from axial_deeplab.training.kinds import AnyRecipe


def build_network(config: ModelConfig, num_classes: int, *, world_size: int = 1) -> nn.Module:
    """Build the model at random, in training mode, for this number of processes; channels-last where there is a GPU."""
    model = build_model(config.name, num_classes=num_classes)
    configure_encoder(model.encoder, drop_path=config.drop_path, recompute=config.recompute)  # type: ignore[arg-type]
    if config.norm_momentum is not None:
        for module in model.modules():
            if isinstance(module, BatchNorm | SimilarityNorm):
                module.momentum = config.norm_momentum
    if config.norm == "frozen":
        freeze_norms(model)
    elif world_size > 1:
        synchronize_norms(model)
    freeze(model, config.freeze)
    if torch.cuda.is_available():  # what the kernels of attention and norms, and the tensor cores, take as it is
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.train()


def start_from(model: nn.Module, recipe: AnyRecipe, categories: Sequence[Category]) -> TransferReport | None:
    """Copy what fits of the checkpoint that a recipe starts from, and report it; `None` if it starts at random.

    Args:
        model: The network of the recipe, as `build_network` returns it.
        recipe: Its `model.init` names the checkpoint.
        categories: Classes of the network, in the order of its outputs.

    Raises:
        InputError: If there is no checkpoint, or nothing of it fits.
    """
    if recipe.model.init is None:
        return None
    crop, colors = find_crop(to_plain(recipe)), Colors(recipe.preprocess.mean, recipe.preprocess.std)
    return transfer_weights(model, read_source(recipe.model.init), categories, crop=crop, colors=colors)


def freeze(model: nn.Module, what: Literal["none", "encoder", "norms"]) -> None:
    """Keep the encoder, or its norms, as they start: without gradients, with their running statistics in training too.

    An encoder that does not learn drops no branches either: in training its features are those of scoring.
    """
    if what == "none":
        return
    encoder = model.encoder
    assert isinstance(encoder, nn.Module)
    freeze_norms(encoder)
    for module in encoder.modules():
        # Not through evaluation mode, in which a captured graph would replay for images to score, of any size.
        if what == "encoder" and isinstance(module, ConvNormAdd):
            module.keep_probability = 1.0
        if what == "encoder" or isinstance(module, BatchNorm | SimilarityNorm):
            for parameter in module.parameters():
                parameter.requires_grad_(False)
