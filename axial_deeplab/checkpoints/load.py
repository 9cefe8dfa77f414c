"""Checkpoints of this package: a folder with `model.safetensors` and `config.json`, or what the trainer saves (`.ckpt`).

The folder is a model folder of Hugging Face as well: `hub_files.py` says what that takes, `model_card.py` writes the README.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize_tensors
from torch import Tensor, nn

from axial_deeplab.checkpoints.hub import find_checkpoint
from axial_deeplab.checkpoints.hub_files import (
    CONFIG,
    PROCESSOR,
    check_hub_files,
    describe_for_transformers,
    describe_processor,
    split_fields,
)
from axial_deeplab.checkpoints.model_card import write_card
from axial_deeplab.data.files import write_atomic, write_json
from axial_deeplab.errors import InputError
from axial_deeplab.models import MODELS, build_model
from axial_deeplab.models.planned import DESCRIBED
from axial_deeplab.records import Category
from axial_deeplab.serialization import from_plain, suggest, to_plain

FORMAT_VERSION = 1
"""int: Version of `config.json` that this package writes, and the newest that it reads."""

WEIGHTS = "model.safetensors"

TRAINER_KEY = "axial_deeplab"
"""str: Where the trainer's `.ckpt` keeps the checkpoint config; its weights have the prefix "model."."""


@dataclass(frozen=True)
class CheckpointConfig:
    """Everything about a network but its weights.

    Attributes:
        model: Name of the network, as in `axial-deeplab models`, or of a form that `architecture` describes.
        categories: One entry for each output class, in the order of the outputs.
        preprocess: Fields of `data.transforms.Preprocess`.
        postprocess: Fields of `panoptic.postprocess.PostprocessConfig`; `None` for a classifier.
        void_class: Output class that means "nothing recognised"; `None` if there is no such output.
        task: What the outputs are.
        architecture: Fields of a dataclass of `models.planned.DESCRIBED`; `None` for a network with a name of its own.
        untrained: Parts that have random weights, such as heads on an imported encoder: to fine-tune, not to predict with.
        recipe: How it was trained, or where it was imported from, for the record.
        measured: Scores on the validation split, for the record.
        format_version: Version of this format.
    """

    model: str
    categories: tuple[Category, ...]
    preprocess: dict[str, Any]
    postprocess: dict[str, Any] | None = None
    void_class: int | None = None
    task: Literal["panoptic", "classification"] = "panoptic"
    architecture: dict[str, Any] | None = None
    untrained: tuple[str, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


def save_checkpoint(folder: str | Path, model: nn.Module, config: CheckpointConfig) -> None:
    """Write weights, config, image processor and model card; a folder without `config.json` is no checkpoint: it comes last.

    Raises:
        InputError: If the folder cannot be written.
    """
    save_weights(folder, model.state_dict(), config)


def save_weights(folder: str | Path, weights: dict[str, Tensor], config: CheckpointConfig) -> None:
    """Do what `save_checkpoint` does, with the state dict of the network."""
    folder = Path(folder)
    weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)  # new weights never stand beside an old config
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from None
    write_atomic(folder / WEIGHTS, lambda file: file.write(serialize_tensors(weights, {"format": "pt"})))
    write_json(folder / PROCESSOR, describe_processor(config), indent=2)
    write_card(folder, config, sum(value.numel() for value in weights.values()))
    write_json(folder / CONFIG, to_plain(config) | describe_for_transformers(config))


def load_checkpoint(path: str | Path) -> tuple[nn.Module, CheckpointConfig]:
    """Build the network of a checkpoint, with its weights, in evaluation mode on the CPU.

    Args:
        path: A folder from `save_checkpoint`, `hf://USER/REPOSITORY` for one on the Hub, or a trainer's `.ckpt`, whose averaged
            weights are taken if it has some.

    Raises:
        InputError: If there is no checkpoint, its weights do not fit the network it names, or its files contradict each other.
    """
    path = find_checkpoint(path)
    config, weights = _read_folder(path) if path.is_dir() else _read_trainer_file(path)
    model = build_network(config, where=str(path))
    if misfit := _describe_misfit(model.state_dict(), weights):
        raise InputError(
            f"{path}: the weights do not fit {config.model} with {len(config.categories)} classes: {misfit}"
        )
    if path.is_dir():
        check_hub_files(path, config)
    model.load_state_dict(weights)
    return model.eval(), config


def load_config(path: str | Path) -> CheckpointConfig:
    """Read the config of a checkpoint alone.

    Raises:
        InputError: If there is no checkpoint.
    """
    path = find_checkpoint(path)
    if not path.is_dir():
        return _read_trainer_file(path)[0]
    return read_config(_read_values(path), where=str(path / CONFIG))


def build_network(config: CheckpointConfig, *, where: str) -> nn.Module:
    """Build the network that a config names, with random weights.

    Raises:
        InputError: If there is no such network, or none as `architecture` describes it.
    """
    num_classes = len(config.categories)
    if config.model in DESCRIBED:
        plan_class, build = DESCRIBED[config.model]
        plan: Any = from_plain(plan_class, config.architecture, where=f"{where}: architecture")
        try:
            return build(plan, num_classes)
        except (ValueError, LookupError) as error:
            raise InputError(f"{where}: the architecture cannot be built: {error}") from None
    if config.model not in MODELS:
        raise InputError(f"{where} holds a model {config.model!r} unknown here{suggest(config.model, list(MODELS))}")
    return build_model(config.model, num_classes=num_classes)


def read_config(values: Any, *, where: str) -> CheckpointConfig:
    """Build a config from the values of its JSON file.

    Raises:
        InputError: If they come from a newer version of this package, or are no config.
    """
    version = values.get("format_version", FORMAT_VERSION) if isinstance(values, dict) else FORMAT_VERSION
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise InputError(f"{where} has format {version}, newer than {FORMAT_VERSION}: upgrade axial-deeplab")
    ours = split_fields(values)[0] if isinstance(values, dict) else values
    return from_plain(CheckpointConfig, ours, where=where)


def _read_folder(folder: Path) -> tuple[CheckpointConfig, dict[str, Tensor]]:
    values = _read_values(folder)
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / WEIGHTS} cannot be read ({error}): export the checkpoint again") from None
    return read_config(values, where=str(folder / CONFIG)), weights


def _read_values(folder: Path) -> Any:
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} is not a checkpoint: it holds no {name}")
    try:
        return json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / CONFIG} is not JSON ({error}): export the checkpoint again") from None


def read_tensor_file(path: Path) -> Any:
    """Return what `torch.save` wrote, read as tensors and plain values: a pickle with code in it is refused unread.

    Raises:
        InputError: If there is no file, it is damaged, or it holds more than that.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: give a checkpoint folder or a trainer's .ckpt")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a damaged pickle can raise anything
        raise InputError(f"{path} is not a checkpoint, or is damaged: it is no file of PyTorch tensors") from None


def _read_trainer_file(path: Path) -> tuple[CheckpointConfig, dict[str, Tensor]]:
    saved = read_tensor_file(path)
    if not isinstance(saved, dict) or TRAINER_KEY not in saved:
        raise InputError(f"{path} was not written by axial-deeplab: it has no checkpoint config")
    prefix = "model."
    weights = {name.removeprefix(prefix): value for name, value in saved["state_dict"].items()}
    return read_config(saved[TRAINER_KEY], where=str(path)), weights


def _describe_misfit(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """Say which weights are missing, unexpected or of another shape, the first two of each; empty if all fit."""
    shapes = [name for name in wanted if name in given and wanted[name].shape != given[name].shape]
    problems = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "of another shape": shapes,
    }
    return "; ".join(
        f"{len(names)} {problem} ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"
        for problem, names in problems.items()
        if names
    )
