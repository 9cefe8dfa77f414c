"""Optimizers of a recipe, with weight decay on what it is meant for."""

from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RAdam

from axial_deeplab.training.config import OptimizerConfig
from axial_deeplab.training.lookahead import add_lookahead


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Build the optimizer; weight decay acts on the weights of convolutions and projections alone."""
    optimizer = _choose_optimizer(_split_parameters(model, config.weight_decay), config)
    if config.lookahead:
        add_lookahead(optimizer, period=config.lookahead, rate=config.lookahead_rate)
    return optimizer


def _choose_optimizer(groups: list[dict[str, Any]], config: OptimizerConfig) -> Optimizer:
    if config.name == "adam":
        return Adam(groups, lr=config.lr)
    if config.name == "adamw":
        return AdamW(groups, lr=config.lr)
    if config.name == "radam":
        return RAdam(groups, lr=config.lr, decoupled_weight_decay=True)
    return SGD(groups, lr=config.lr, momentum=0.9, nesterov=True)


def _split_parameters(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    return [
        {"params": [parameter for parameter in trained if id(parameter) in decayed], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if id(parameter) not in decayed], "weight_decay": 0.0},
    ]
