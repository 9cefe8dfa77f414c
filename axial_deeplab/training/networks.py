"""The network of a recipe: built, perhaps started from a checkpoint, its norms set up for the batch it will see."""

import sys

import torch
from torch import nn

from axial_deeplab.checkpoints.load import load_checkpoint
from axial_deeplab.errors import InputError
from axial_deeplab.layers.normalization import BatchNorm, SimilarityNorm, freeze_norms, synchronize_norms
from axial_deeplab.models import build_model
from axial_deeplab.models.encoder import configure_encoder
from axial_deeplab.training.config import ModelConfig


def build_network(config: ModelConfig, num_classes: int, *, world_size: int = 1) -> nn.Module:
    """Build the model, in training mode, for this number of processes; channels-last where there is a GPU.

    Raises:
        InputError: If the checkpoint to start from does not suit it.
    """
    model = build_model(config.name, num_classes=num_classes)
    configure_encoder(model.encoder, drop_path=config.drop_path, recompute=config.recompute)  # type: ignore[arg-type]
    if config.norm_momentum is not None:
        for module in model.modules():
            if isinstance(module, BatchNorm | SimilarityNorm):
                module.momentum = config.norm_momentum
    if config.init is not None:
        print(start_from(model, config.init), file=sys.stderr)
    if config.norm == "frozen":
        freeze_norms(model)
    elif world_size > 1:
        synchronize_norms(model)
    if torch.cuda.is_available():  # what the kernels of attention and norms, and the tensor cores, take as it is
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.train()


def start_from(model: nn.Module, checkpoint: str) -> str:
    """Copy the weights of a checkpoint that agree in name and shape, and say which stay as they are.

    Raises:
        InputError: If there is no checkpoint, or nothing of it fits.
    """
    source = load_checkpoint(checkpoint)[0].state_dict()
    wanted = model.state_dict()
    fitting = {name: value for name, value in source.items() if name in wanted and value.shape == wanted[name].shape}
    if not fitting:
        raise InputError(f"{checkpoint} has no weight that fits the model: choose a checkpoint of the same encoder")
    model.load_state_dict(fitting, strict=False)
    left = sorted({name.split(".")[0] for name in wanted if name not in fitting})
    return f"{len(fitting)} of {len(wanted)} weights from {checkpoint}; new weights in: {', '.join(left) or 'nothing'}"
