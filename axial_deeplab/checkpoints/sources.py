"""What training can start from: a checkpoint of ours, or the state dict of a plain ResNet-50."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from axial_deeplab.checkpoints.hub import find_checkpoint
from axial_deeplab.checkpoints.load import TRAINER_KEY, CheckpointConfig, load_checkpoint, read_tensor_file
from axial_deeplab.checkpoints.torchvision_resnet import from_torchvision_resnet
from axial_deeplab.errors import InputError


class Source(NamedTuple):
    """Weights to start from."""

    path: str
    encoder: nn.Module  # of the network that they belong to
    weights: dict[str, Tensor]  # parameters and running statistics by our names
    config: CheckpointConfig | None  # None for a file that holds nothing but tensors


def read_source(path: str | Path) -> Source:
    """Read a checkpoint folder, `hf://USER/REPOSITORY`, a trainer's `.ckpt`, or a ResNet-50 as `.pth`, `.pt` or `.safetensors`.

    Files of PyTorch are read as tensors only: a pickle with code in it is refused, and nothing in it runs.

    Raises:
        InputError: If there is nothing, it is damaged, or it is neither of these.
    """
    path = find_checkpoint(path)
    if path.is_dir():
        return _read_ours(path)
    values = _read_safetensors(path) if path.suffix == ".safetensors" else read_tensor_file(path)
    if isinstance(values, Mapping) and TRAINER_KEY in values:
        return _read_ours(path)
    if not isinstance(values, Mapping):
        raise InputError(f"{path} holds a {type(values).__name__}, not tensors by name: give a state dict")
    try:
        encoder, others = from_torchvision_resnet(values)
    except ValueError as error:
        raise InputError(f"{path} was not written by axial-deeplab: it has no checkpoint config; and {error}") from None
    weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()} | others
    return Source(str(path), encoder, weights, None)


def _read_ours(path: Path) -> Source:
    network, config = load_checkpoint(path)
    assert isinstance(network.encoder, nn.Module)
    return Source(str(path), network.encoder, network.state_dict(), config)


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from None
