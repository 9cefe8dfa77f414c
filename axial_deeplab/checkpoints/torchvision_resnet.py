"""Plain ResNet-50, 101 and 152: state dicts with torchvision's names, which many other libraries share."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from axial_deeplab.layers.normalization import configure_norms
from axial_deeplab.models.encoder import Encoder
from axial_deeplab.models.resnet import build_resnet

_NAMES: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"^conv1\.", "stem.0.conv."),
    (r"^bn1\.", "stem.0.norm."),
    (r"^layer(\d)\.(\d+)\.", lambda match: f"stages.{int(match[1]) - 1}.{match[2]}."),
    (r"\.conv1\.", ".down.conv."),
    (r"\.bn1\.", ".down.norm."),
    (r"\.conv2\.", ".conv.conv."),
    (r"\.bn2\.", ".conv.norm."),
    (r"\.conv3\.", ".up.conv."),
    (r"\.bn3\.", ".up.norm."),
    (r"\.downsample\.0\.", ".shortcut.projection.conv."),
    (r"\.downsample\.1\.", ".shortcut.projection.norm."),
]


def from_torchvision_resnet(state_dict: Mapping[str, Any]) -> tuple[Encoder, dict[str, Tensor]]:
    """Build the bottleneck ResNet that these weights belong to, and load them.

    Args:
        state_dict: Names to tensors, with or without the `module.` prefix of data parallel training and step counters; or a
            dictionary that holds it under `state_dict` or `model`.

    Returns:
        The encoder in eval mode, and the tensors that are no part of it by their own names, the classifier `fc` among them.

    Raises:
        ValueError: If the names or shapes of the encoder are not those of such a network.
    """
    for wrapper in ("state_dict", "model"):
        if isinstance(state_dict.get(wrapper), Mapping):
            state_dict = state_dict[wrapper]
    weights = {rename(str(name).removeprefix("module.")): value for name, value in state_dict.items()}
    weights = {
        name: value
        for name, value in weights.items()
        if isinstance(value, Tensor) and not name.endswith("num_batches_tracked")
    }
    if "stem.0.conv.weight" not in weights or "stages.0.0.up.conv.weight" not in weights:
        raise ValueError("it has no conv1.weight and layer1.0.conv3.weight, so it is no ResNet-50 either")
    encoder = build_resnet(count_blocks(weights))
    configure_norms(encoder, eps=1e-5, momentum=0.1, correction=1)
    wanted = encoder.state_dict()
    for name, own in wanted.items():
        if name not in weights:
            raise ValueError(f"it is no whole ResNet-50: what belongs to {name} is missing")
        if weights[name].shape != own.shape:
            shapes = f"{list(weights[name].shape)}, not {list(own.shape)}"
            raise ValueError(f"it is no ResNet-50: what belongs to {name} has shape {shapes}")
    encoder.load_state_dict({name: weights[name] for name in wanted})
    return encoder.eval(), {name: value for name, value in weights.items() if name not in wanted}


def rename(name: str) -> str:
    """Return the name of a tensor in our encoder; one that is no part of such a network keeps its own."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def count_blocks(weights: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return the residual blocks of the four stages, by our names; at least one each, so that missing ones are noticed."""
    found = [re.match(r"stages\.(\d)\.(\d+)\.", name) for name in weights]
    blocks = {(int(match[1]), int(match[2])) for match in found if match}
    first, second, third, fourth = (max(1, sum(stage == wanted for stage, _ in blocks)) for wanted in range(4))
    return first, second, third, fourth
