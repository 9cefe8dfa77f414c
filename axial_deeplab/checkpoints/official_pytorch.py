"""Weights of the authors' PyTorch code (csrhddlam/axial-deeplab): ImageNet classifiers.

The differences to our layout, all of them in the attention layers: query, key and value channels interleaved by head; content
and position channels of the output norm interleaved; one table that holds query, key and value vectors, with the query and
value parts indexed by `query - key`.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from axial_deeplab.models.axial_resnet import AttentionConfig, AxialResNetConfig
from axial_deeplab.models.classifier import Classifier
from axial_deeplab.models.planned import build_authors

_DERIVED = ("flatten_index", "num_batches_tracked")

_MODULES = [
    (r"^conv1\.", "encoder.stem.0.conv."),
    (r"^bn1\.", "encoder.stem.0.norm."),
    (r"^layer(\d)\.(\d+)\.", lambda match: f"encoder.stages.{int(match[1]) - 1}.{match[2]}."),
    (r"\.conv_(down|up)\.", r".\1.conv."),
    (r"\.bn1\.", ".down.norm."),
    (r"\.bn2\.", ".up.norm."),
    (r"\.downsample\.0\.", ".shortcut.projection.conv."),
    (r"\.downsample\.1\.", ".shortcut.projection.norm."),
    (r"\.hight_block\.", ".height_attention."),
    (r"\.width_block\.", ".width_attention."),
    (r"\.qkv_transform\.", ".qkv."),
    (r"\.bn_qkv\.", ".qkv_norm."),
    (r"\.bn_similarity\.", ".similarity_norm."),
    (r"\.bn_output\.", ".retrieved_norm."),
]


def from_official_pytorch(state_dict: Mapping[str, Any]) -> nn.Module:
    """Build the authors' classifier that these weights belong to, and load them.

    Args:
        state_dict: Names to tensors, with or without the `module.` prefix of data parallel training, index tables and step
            counters; or the dictionary around it that the training script saves, with the weights under `net`.

    Returns:
        A module in eval mode from images [batch, 3, height, width], normalised by ImageNet's mean and standard deviation, to
        logits [batch, class].

    Raises:
        ValueError: If the names or shapes are not those of such a classifier.
    """
    return recognize_official_pytorch(state_dict)[0]


def recognize_official_pytorch(state_dict: Mapping[str, Any]) -> tuple[Classifier, AxialResNetConfig]:
    """Do what `from_official_pytorch` does, and return what the network was built from too."""
    if isinstance(state_dict.get("net"), Mapping):
        state_dict = state_dict["net"]
    weights = {name.removeprefix("module."): torch.as_tensor(value) for name, value in state_dict.items()}
    weights = {name: value for name, value in weights.items() if not name.endswith(_DERIVED)}
    tables = [f"layer{layer}.0.hight_block.relative" for layer in (1, 2, 3, 4)]
    missing = [name for name in ("conv1.weight", *tables, "fc.weight") if name not in weights]
    if missing:
        raise ValueError(f"not a classifier of the authors' PyTorch code: {missing[0]} is missing")
    try:
        config = _infer_config(weights)
        model = build_authors(config, weights["fc.weight"].shape[0])
        _fill(model, weights, config.attention.num_heads)
    except (RuntimeError, LookupError, ZeroDivisionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"not a classifier of the authors' PyTorch code: its shapes do not fit ({reason})") from error
    return model.eval(), config


def _fill(model: nn.Module, weights: Mapping[str, Tensor], num_heads: int) -> None:
    """Copy every weight to its place; raise a ValueError that names those that have none, or do not fit."""
    state = model.state_dict()
    converted: dict[str, Tensor] = {}
    for name, value in weights.items():
        parts = convert_weights({name: value}, num_heads)
        converted |= parts
        for ours, part in parts.items():
            if ours not in state:
                raise ValueError(f"weight {name} has no place in this network")
            if part.shape != state[ours].shape:
                raise ValueError(
                    f"weight {name} has shape {tuple(value.shape)}, not that of {tuple(state[ours].shape)}"
                )
    if missing := sorted(state.keys() - converted.keys()):
        raise ValueError(f"{len(missing)} weights are missing, such as that of {missing[0]}")
    model.load_state_dict(converted)


def _infer_config(weights: Mapping[str, Tensor]) -> AxialResNetConfig:
    found = [re.match(r"layer(\d)\.(\d+)\.", name) for name in weights]
    blocks = {(int(match[1]), int(match[2])) for match in found if match}
    first = [weights[f"layer{layer}.0.hight_block.relative"] for layer in (1, 2, 3, 4)]
    counts = [sum(layer == wanted for layer, _ in blocks) for wanted in (1, 2, 3, 4)]
    sides = [(table.shape[1] + 1) // 2 for table in first]
    width, stem_width = weights["layer1.0.conv_down.weight"].shape[0] / 128, weights["conv1.weight"].shape[0] / 64
    return AxialResNetConfig(
        width=width,
        blocks=(counts[0], counts[1], counts[2], counts[3]),
        stem_width=None if stem_width == width else stem_width,
        attention=AttentionConfig(
            striding="average_pool", num_heads=weights["layer1.0.hight_block.bn_similarity.weight"].numel() // 3
        ),
        tight_tables=(sides[0], sides[1], sides[2], sides[3]),
    )


def convert_weights(weights: Mapping[str, Tensor], num_heads: int) -> dict[str, Tensor]:
    """Rename and rearrange the authors' weights (or gradients, or statistics) to our layout."""
    converted: dict[str, Tensor] = {}
    for name, value in weights.items():
        for pattern, replacement in _MODULES:
            name = re.sub(pattern, replacement, name)  # type: ignore[call-overload]
        if name.endswith(".relative"):
            converted.update(_split_table(name.removesuffix("relative"), value))
        elif ".qkv" in name:
            converted[name] = _order_by_kind(value.squeeze(-1) if value.ndim == 3 else value, num_heads)
        elif ".similarity_norm." in name:
            converted[name] = value.view(3, num_heads)
        elif ".retrieved_norm." in name:
            converted[name] = value.view(-1, 2).T.reshape(-1)
        else:
            converted[name] = value
    return converted


def _split_table(prefix: str, table: Tensor) -> dict[str, Tensor]:
    """Split one table [2 * group, 2 * side - 1] into three with rows by `key - query`, ascending."""
    half = table.shape[0] // 4
    query, key, value = table.T.split([half, half, 2 * half], dim=1)
    return {
        f"{prefix}query_table": query.flip(0),
        f"{prefix}key_table": key.clone(),
        f"{prefix}value_table": value.flip(0),
    }


def _order_by_kind(value: Tensor, num_heads: int) -> Tensor:
    """Turn channels [head: query, key, value] into [query of all heads, key of all heads, value of all heads]."""
    by_head = value.unflatten(0, (num_heads, -1))
    half = by_head.shape[1] // 4
    return torch.cat([part.flatten(0, 1) for part in by_head.split([half, half, 2 * half], dim=1)])
