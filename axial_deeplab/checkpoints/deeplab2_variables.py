"""deeplab2's variables: their names in every form, and a reader that hands each out once."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from axial_deeplab.layers.axial_attention import AxialAttention
from axial_deeplab.layers.convolution import ConvNorm, SeparableConv

_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

# Entries of a training checkpoint that are no weights, and the stacked decoder of MaX-DeepLab-L, which no output reads.
_NOT_WEIGHTS = re.compile(r"(^|/)_?(global_step|save_counter|optimizer|CHECKPOINTABLE_OBJECT_GRAPH)|\.OPTIMIZER_SLOT")
_UNUSED = re.compile(r"^encoder/decoder_stage")
_NETWORK = re.compile(r"^(encoder|semantic_decoder|instance_decoder|semantic_head|instance_\w+_head)/")

Kind = Literal["network", "training", "stacked decoder", "foreign"]


def canonicalize(name: str) -> str:
    """Bring every form of a variable's name to one: `encoder/stage2/block1/conv1_bn_act/conv/kernel`."""
    name = name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").removesuffix(":0")
    parts = [part.lstrip("_") for part in name.split("/")]
    if parts[0] in ("DeepLab", "backbone"):
        parts = parts[1:]
    if parts[0] == "PanopticDeepLab":
        parts = parts[1:]
    elif len(parts) > 1 and re.match(r"stem$|stage\d$|decoder_stage", parts[1]):
        parts[0] = "encoder"
    name = "/".join(parts)
    name = re.sub(r"^(\w+_head)_without_last_layer/", r"\1/conv_block/", name)
    return re.sub(r"^(semantic|instance_center_head|instance_regression_head)_last_layer/", _name_last_layer, name)


def _name_last_layer(match: re.Match[str]) -> str:
    return f"{match[1] if match[1].endswith('head') else match[1] + '_head'}/final_conv/"


def classify(name: str) -> Kind:
    """Say what a variable belongs to, by its name in any form.

    "training" are optimizer slots, counters and the object graph; "stacked decoder" is that of MaX-DeepLab-L, which no output
    reads; "foreign" is anything that deeplab2's panoptic networks do not have.
    """
    canonical = canonicalize(name)
    if _NOT_WEIGHTS.search(name) or _NOT_WEIGHTS.search(canonical):
        return "training"
    if _UNUSED.match(canonical):
        return "stacked decoder"
    return "network" if _NETWORK.match(canonical) else "foreign"


def canonicalize_all(variables: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights among `variables` as tensors by canonical name."""
    named: dict[str, Tensor] = {}
    for original, value in variables.items():
        name = canonicalize(original)
        if classify(original) in ("training", "stacked decoder"):
            continue
        if name in named:
            raise ValueError(f"two variables are called {name}")
        named[name] = torch.as_tensor(np.asarray(value)) if not isinstance(value, Tensor) else value
    return named


class VariableReader:
    """Hand out variables, and remember which have been used."""

    def __init__(self, variables: dict[str, Tensor]) -> None:
        self.variables = variables
        self.unused = set(variables)

    def has(self, name: str) -> bool:
        """Return whether there is a variable of this canonical name."""
        return name in self.variables

    def get_shape(self, name: str, ndim: int | None = None) -> torch.Size:
        """Return the shape of a variable that must be there, with `ndim` dimensions."""
        if name not in self.variables:
            raise ValueError(f"not a deeplab2 network: variable {name} is missing")
        shape = self.variables[name].shape
        if ndim not in (None, len(shape)):
            raise ValueError(f"variable {name} has shape {tuple(shape)}, expected {ndim} dimensions")
        return shape

    def find(self, pattern: str) -> list[str]:
        """Return the names that begin with a pattern, sorted."""
        return sorted(name for name in self.variables if re.match(pattern, name))

    def copy(self, name: str, target: Tensor, order: tuple[int, ...] | None = None) -> None:
        """Copy a variable into a parameter or buffer; its dimensions are brought to `order`, where that is given."""
        self.get_shape(name, None if order is None else len(order))
        value = self.variables[name]
        value = value if order is None else value.permute(order)
        if value.numel() != target.numel() or (value.ndim == target.ndim and value.shape != target.shape):
            raise ValueError(f"variable {name} has shape {tuple(value.shape)}, expected {tuple(target.shape)}")
        with torch.no_grad():
            target.copy_(value.reshape(target.shape))
        self.unused.discard(name)

    def _copy_norm(self, path: str, norm: nn.Module) -> None:
        for theirs, ours in _NORM.items():
            self.copy(f"{path}/{theirs}", getattr(norm, ours))

    def fill(self, path: str, module: nn.Module) -> None:
        """Copy the variables under `path` into one of the modules that a network is made of."""
        if isinstance(module, ConvNorm):
            self._fill_conv(path, module)
        elif isinstance(module, SeparableConv):
            self._fill_conv(f"{path}/depthwise", module.depthwise)
            self._fill_conv(f"{path}/pointwise", module.pointwise)
        elif isinstance(module, AxialAttention):
            self._fill_attention(path, module)
        else:
            assert isinstance(module, nn.Conv2d)
            assert module.bias is not None
            self.copy(f"{path}/kernel", module.weight, (3, 2, 0, 1))
            self.copy(f"{path}/bias", module.bias)

    def _fill_conv(self, path: str, module: ConvNorm) -> None:
        if module.conv.groups > 1:
            depthwise = f"{path}/depthwise_conv/depthwise_kernel"
            self.copy(depthwise, module.conv.weight, (2, 3, 0, 1))
        else:
            self.copy(f"{path}/conv/kernel", module.conv.weight, (3, 2, 0, 1))
        self._copy_norm(f"{path}/batch_norm", module.norm)

    def _fill_attention(self, path: str, module: AxialAttention) -> None:
        self.copy(f"{path}/qkv_kernel", module.qkv.weight, (1, 0))
        for name, table in zip(("query", "key", "value"), module.tables, strict=True):
            if table is not None:
                self.copy(f"{path}/{name}_rpe/embeddings", table)
        self._copy_norm(f"{path}/batch_norm_qkv", module.qkv_norm)
        self._copy_norm(f"{path}/batch_norm_similarity", module.similarity_norm)
        self._copy_norm(f"{path}/batch_norm_retrieved_output", module.retrieved_norm)

    def check_all_used(self) -> None:
        """Raise a ValueError that names variables which no module has taken."""
        if self.unused:
            names = sorted(self.unused)
            raise ValueError(f"{len(names)} variables have no place in this network: {', '.join(names[:5])}")
