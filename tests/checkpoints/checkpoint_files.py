"""Small checkpoints to start from, of our own and with torchvision's names."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from axial_deeplab.checkpoints.load import CheckpointConfig, save_checkpoint
from axial_deeplab.models import build_model
from axial_deeplab.records import Category


def make_categories(*names: str) -> tuple[Category, ...]:
    return tuple(Category(number, name, is_thing=False) for number, name in enumerate(names))


def save_network(folder: Path, name: str, *classes: str, recipe: dict[str, Any] | None = None) -> str:
    """Write a checkpoint of random weights."""
    torch.manual_seed(1)
    model = build_model(name, len(classes))
    task = "panoptic" if "deeplab" in name else "classification"
    config = CheckpointConfig(name, make_categories(*classes), preprocess={}, task=task, recipe=recipe or {})
    save_checkpoint(folder, model, config)
    return str(folder)


def make_resnet_weights(blocks: tuple[int, ...] = (3, 4, 6, 3), num_classes: int = 10) -> dict[str, Tensor]:
    """Return random weights of a ResNet with torchvision's names, step counters included; norms have statistics."""
    torch.manual_seed(2)
    weights: dict[str, Tensor] = {}

    def add(conv: str, norm: str, out_channels: int, in_channels: int, side: int) -> None:
        weights[f"{conv}.weight"] = torch.randn(out_channels, in_channels, side, side) * (in_channels * side**2) ** -0.5
        weights[f"{norm}.weight"], weights[f"{norm}.bias"] = torch.rand(out_channels) + 0.5, torch.randn(out_channels)
        weights[f"{norm}.running_mean"] = torch.randn(out_channels)
        weights[f"{norm}.running_var"] = torch.rand(out_channels) + 0.5
        weights[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("conv1", "bn1", 64, 3, 7)
    before = 64
    for stage, count in enumerate(blocks):
        inner = 64 * 2**stage
        for block in range(count):
            place = f"layer{stage + 1}.{block}"
            add(f"{place}.conv1", f"{place}.bn1", inner, before, 1)
            add(f"{place}.conv2", f"{place}.bn2", inner, inner, 3)
            add(f"{place}.conv3", f"{place}.bn3", 4 * inner, inner, 1)
            if block == 0:
                add(f"{place}.downsample.0", f"{place}.downsample.1", 4 * inner, before, 1)
            before = 4 * inner
    weights["fc.weight"], weights["fc.bias"] = torch.randn(num_classes, before), torch.randn(num_classes)
    return weights
