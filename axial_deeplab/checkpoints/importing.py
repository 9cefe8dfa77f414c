"""From files of the public implementations to checkpoint folders of this package."""

import hashlib
import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from axial_deeplab.checkpoints.bundle_files import list_files, open_bundle
from axial_deeplab.checkpoints.class_lists import (
    ClassList,
    choose_image_classes,
    choose_segment_classes,
    load_classes,
)
from axial_deeplab.checkpoints.deeplab2 import RecognizedNetwork, recognize_deeplab2
from axial_deeplab.checkpoints.deeplab2_variables import canonicalize, classify
from axial_deeplab.checkpoints.load import CheckpointConfig, save_checkpoint
from axial_deeplab.checkpoints.official_pytorch import recognize_official_pytorch
from axial_deeplab.checkpoints.tensor_bundle import read_bundle, read_index
from axial_deeplab.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from axial_deeplab.errors import InputError
from axial_deeplab.models.planned import AUTHORS_PLANS, find_plan
from axial_deeplab.serialization import to_plain

HEADS = ("semantic_decoder", "instance_decoder", "semantic_head", "center_head", "offset_head")
"""tuple: Parts of a panoptic network that an encoder's checkpoint does not have."""

_POSTPROCESS = {
    "coco": {"center_threshold": 0.1, "nms_kernel": 41, "stuff_area_limit": 4096, "max_centers": 400},
    "cityscapes": {"center_threshold": 0.1, "nms_kernel": 13, "stuff_area_limit": 2048, "max_centers": 400},
}
"""dict: deeplab2's settings for its two datasets; other classes take those of Cityscapes."""


_PASSED_OVER = {"state of the training": "training", "stacked decoder that no output reads": "stacked decoder"}


@dataclass(frozen=True)
class Settings:
    """What no variable of deeplab2 records: stride of the deepest feature, dilations and averaging window of ASPP."""

    output_stride: int = 16
    aspp_rates: Sequence[int] = (6, 12, 18)
    aspp_pool: tuple[int, int] | None = None


DEFAULT_SETTINGS = Settings()
"""Settings: Those of all published panoptic networks at stride 16."""


@dataclass(frozen=True)
class ImportReport:
    """What was imported.

    Attributes:
        model: Name of the network.
        num_parameters: Its learned values.
        classes: Where its classes come from.
        num_used: Variables that became weights.
        passed_over: Names of those that no output depends on, by kind.
        left_over: Names of those that the network has no place for.
        untrained: Parts with random weights.
    """

    model: str
    num_parameters: int
    classes: ClassList
    num_used: int
    passed_over: dict[str, list[str]] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    untrained: tuple[str, ...] = ()

    def format(self) -> str:
        """Describe the import in a few lines."""
        count = len(self.classes.categories)
        lines = [
            f"{self.model}: {self.num_parameters / 1e6:.1f} M parameters, {count} classes ({self.classes.source})",
            f"{self.num_used} variables used, each once",
        ]
        for kind, names in self.passed_over.items():
            lines.append(f"passed over, {kind}: {len(names)} ({names[0]}{', ...' if len(names) > 1 else ''})")
        lines += [f"left over: {name}" for name in self.left_over]
        if self.untrained:
            lines.append(
                f"random weights: {', '.join(self.untrained)}; fine-tune with: axial-deeplab train RECIPE --init"
            )
        return "\n".join(lines)


def import_official_pytorch(
    source: str | Path, output: str | Path, *, classes: str | None = None, origin: dict[str, Any] | None = None
) -> ImportReport:
    """Convert a `.pth` file of the authors' PyTorch code.

    Args:
        source: The file; nothing but tensors is unpickled from it.
        output: Folder for the checkpoint.
        classes: See `choose_image_classes`.
        origin: Recorded in the config beside the file's size and sha256, such as the address it came from.

    Raises:
        InputError: If the file is missing, damaged, holds code, or other weights.
    """
    source = Path(source)
    saved = read_pytorch_file(source)
    try:
        model, found = recognize_official_pytorch(saved)
    except (ValueError, TypeError) as error:
        raise InputError(f"{source}: {error}") from None
    class_list = choose_image_classes(classes, model.num_classes)
    name = next((name for name, config in AUTHORS_PLANS.items() if config == found), None)
    config = CheckpointConfig(
        model=name or "authors_described",
        categories=class_list.categories,
        preprocess={"resize": 256, "crop": 224, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)},
        task="classification",
        architecture=None if name else to_plain(found),
        recipe=_describe_origin("official-pytorch", [source], origin),
    )
    save_checkpoint(output, model, config)
    names = list(saved.get("net", saved))
    derived = [name for name in names if name.endswith(("flatten_index", "num_batches_tracked"))]
    passed_over = {"index tables and counters": derived} if derived else {}
    return ImportReport(config.model, _count(model), class_list, len(names) - len(derived), passed_over)


def read_pytorch_file(path: Path) -> dict[str, Any]:
    """Read a dictionary of tensors that PyTorch saved; a file that asks for anything else is refused, and nothing in it runs.

    Raises:
        InputError: If the file is missing, damaged, or holds anything but tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: expected a .pth file of the authors' PyTorch code")
    try:
        with warnings.catch_warnings(action="ignore"):  # that a pickle is unusual is said below, in one line
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path} holds more than tensors, or is damaged: it was not unpickled") from None
    except (OSError, EOFError, RuntimeError, ValueError, LookupError):
        raise InputError(f"{path} is damaged, or no file of PyTorch: expected a .pth file of tensors") from None
    if not isinstance(saved, dict) or not all(isinstance(name, str) for name in saved):
        raise InputError(f"{path} holds no weights by name: expected a state dict, or one under 'net'")
    return saved


def import_deeplab2(
    source: str | Path,
    output: str | Path,
    *,
    classes: str | None = None,
    settings: Settings = DEFAULT_SETTINGS,
    origin: dict[str, Any] | None = None,
) -> ImportReport:
    """Convert a TensorFlow checkpoint of deeplab2, a panoptic network or an ImageNet encoder; the latter gets random heads.

    Args:
        source: See `open_bundle`.
        output: Folder for the checkpoint.
        classes: See `choose_segment_classes`; by default an encoder gets heads for Cityscapes.
        settings: What the checkpoint does not say.
        origin: Recorded in the config beside size and sha256 of the files, such as the address they came from.

    Raises:
        InputError: If a file is missing or damaged, or the network is none of deeplab2's that are known here.
    """
    source = Path(source)
    with open_bundle(source) as prefix:
        kinds = {name: classify(name) for name in read_index(prefix.with_name(f"{prefix.name}.index"))[1]}
        variables = read_bundle(prefix, lambda name: kinds[name] == "network")
        files = [source] if source.is_file() and prefix.parent != source.parent else list_files(prefix)
        recipe = _describe_origin("deeplab2", files, origin)
    network = _recognize(source, variables, classes, settings)
    num_used = len(variables)
    del variables  # of the largest network two gigabytes, which writing needs
    class_list = choose_segment_classes(classes, network.model.num_classes)  # type: ignore[arg-type]
    passed_over = {
        label: [name for name, kind in kinds.items() if kind == wanted] for label, wanted in _PASSED_OVER.items()
    }
    config = _describe_deeplab2(network, class_list, recipe, has_stack="stacked decoder" in kinds.values())
    save_checkpoint(output, network.model, config)
    return ImportReport(
        config.model,
        _count(network.model),
        class_list,
        num_used,
        {label: names for label, names in passed_over.items() if names},
        [name for name, kind in kinds.items() if kind == "foreign"],
        config.untrained,
    )


def _describe_deeplab2(
    network: RecognizedNetwork, class_list: ClassList, recipe: dict[str, Any], *, has_stack: bool
) -> CheckpointConfig:
    name = find_plan(network.plan)
    if has_stack and name == "deeplab2_axial_swidernet_1_1_1":
        name = "deeplab2_max_deeplab_l_backbone"  # the same trunk below another decoder
    longest_side = 641 if class_list.source == "coco" else None
    return CheckpointConfig(
        model=name or "deeplab2_described",
        categories=class_list.categories,
        preprocess=to_plain(Preprocess(longest_side, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))),
        postprocess=_POSTPROCESS.get(class_list.source, _POSTPROCESS["cityscapes"]),
        void_class=class_list.void_class,
        architecture=None if name else to_plain(network.plan),
        untrained=() if network.has_heads else HEADS,
        recipe=recipe,
    )


def _recognize(source: Path, variables: dict[str, Any], classes: str | None, settings: Settings) -> RecognizedNetwork:
    has_heads = any(canonicalize(name).startswith("semantic_decoder/") for name in variables)
    num_classes = None if has_heads else len(load_classes(classes or "cityscapes"))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # for heads that the checkpoint lacks
            return recognize_deeplab2(
                variables,
                num_classes=num_classes,
                output_stride=settings.output_stride,
                aspp_rates=settings.aspp_rates,
                aspp_pool=settings.aspp_pool,
            )
    except ValueError as error:
        raise InputError(f"{source}: {error}") from None


def _describe_origin(form: str, files: Sequence[Path], origin: dict[str, Any] | None) -> dict[str, Any]:
    described = [{"name": path.name, "bytes": path.stat().st_size, "sha256": _hash(path)} for path in files]
    return {"imported": {"form": form, **(origin or {}), "files": described}}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
