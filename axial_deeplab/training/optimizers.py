"""Optimizers of a recipe, with weight decay on what it is meant for."""

from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RAdam

from axial_deeplab.training.config import OptimizerConfig
from axial_deeplab.training.lookahead import add_lookahead


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Build the optimizer; weight decay acts on the weights of convolutions and projections alone.

    What does not learn is not in it. With a `trunk_rate` other than 1 the encoder has groups of its own, after the others.
    """
    optimizer = _choose_optimizer(_split_parameters(model, config), config)
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


def _split_parameters(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if config.trunk_rate == 1:
        return _split_by_decay(model, list(trained.values()), config.weight_decay, config.lr)
    trunk = [parameter for name, parameter in trained.items() if name.startswith("encoder.")]
    rest = [parameter for name, parameter in trained.items() if not name.startswith("encoder.")]
    return [
        *_split_by_decay(model, rest, config.weight_decay, config.lr),
        *_split_by_decay(model, trunk, config.weight_decay, config.lr * config.trunk_rate),
    ]


def _split_by_decay(
    model: nn.Module, parameters: list[nn.Parameter], weight_decay: float, lr: float
) -> list[dict[str, Any]]:
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    with_decay = [parameter for parameter in parameters if id(parameter) in decayed]
    without = [parameter for parameter in parameters if id(parameter) not in decayed]
    return [
        {"params": with_decay, "weight_decay": weight_decay, "lr": lr},
        {"params": without, "weight_decay": 0.0, "lr": lr},
    ]
