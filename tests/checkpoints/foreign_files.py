"""Files as the public implementations write them, with random weights, for tests of the import."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from axial_deeplab.checkpoints.deeplab2 import name_encoder, name_panoptic
from axial_deeplab.layers.axial_attention import AxialAttention
from axial_deeplab.layers.convolution import ConvNorm, SeparableConv
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialResNetConfig
from axial_deeplab.models.classifier import Classifier
from axial_deeplab.models.decoder import DecoderConfig
from axial_deeplab.models.hybrid_resnet import BlockPlan, EncoderPlan
from axial_deeplab.models.planned import PanopticPlan, build_authors, build_panoptic

DECODER = DecoderConfig(context_channels=8, low_level_channels=(8, 8), channels=8)
TINY = PanopticPlan(
    EncoderPlan(
        (8,),
        3,
        (BlockPlan("basic", (8, 8)),),
        (
            (BlockPlan("basic", (8, 16), 2),),
            (BlockPlan("bottleneck", (8, 8, 16), 2),),
            (BlockPlan("basic", (16, 16), 2), BlockPlan("axial", (16, 16))),
            (BlockPlan("axial", (16, 16)),),
        ),
    ),
    semantic=DECODER,
    instance=DECODER,
    head_channels=(8, 8, 8),
)
"""A wide network of one block a stage, with every kind of block."""


def build_tiny(num_classes: int) -> nn.Module:
    torch.manual_seed(1)
    model = build_panoptic(TINY, num_classes).eval()
    for tensor in model.state_dict().values():
        tensor.add_(torch.rand_like(tensor) * 0.1)  # nothing is left at 0 or 1, where a mix-up would not show
    return model


def list_variables(model: nn.Module, *, heads: bool = True) -> dict[str, np.ndarray]:
    """Return a panoptic network's weights under the keys of an object-based checkpoint."""
    named = name_panoptic(model) if heads else name_encoder(model.encoder)
    return {
        f"{to_key(path)}/{suffix}/.ATTRIBUTES/VARIABLE_VALUE": np.ascontiguousarray(value.numpy())
        for path, module in named
        for suffix, value in list_module(module)
    }


def to_key(path: str) -> str:
    """Return the path of an object, as deeplab2 nests them, from that of a layer."""
    head, _, rest = path.partition("/")
    if rest == "final_conv":
        return f"{head.replace('semantic_head', 'semantic')}_last_layer"
    if rest.startswith("conv_block/"):
        head, rest = f"{head}_without_last_layer", rest.removeprefix("conv_block/")
    return "/".join([head, *(f"_{part}" for part in rest.split("/"))])


def list_module(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    state = {name: value.detach() for name, value in module.state_dict().items()}

    def list_norm(path: str, norm: str, shape: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
        theirs = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        for name, ours in theirs.items():
            yield f"{path}/{name}", state[f"{norm}.{ours}"].reshape(shape)

    if isinstance(module, SeparableConv):
        for name, part in (("_depthwise", module.depthwise), ("_pointwise", module.pointwise)):
            yield from ((f"{name}/{suffix}", value) for suffix, value in list_module(part))
    elif isinstance(module, ConvNorm):
        weight = state["conv.weight"]
        if module.conv.groups > 1:
            yield "_depthwise_conv/depthwise_kernel", weight.permute(2, 3, 0, 1)
        else:
            yield "_conv/kernel", weight.permute(2, 3, 1, 0)
        yield from list_norm("_batch_norm", "norm", (-1,))
    elif isinstance(module, AxialAttention):
        yield "qkv_kernel", state["qkv.weight"].T
        for name in ("query", "key", "value"):
            yield f"_{name}_rpe/embeddings", state[f"{name}_table"]
        yield from list_norm("_batch_norm_qkv", "qkv_norm", (-1,))
        yield from list_norm("_batch_norm_similarity", "similarity_norm", (3, 1, module.num_heads, 1, 1))
        yield from list_norm("_batch_norm_retrieved_output", "retrieved_norm", (2, 1, module.num_heads, 1, -1))
    else:
        yield "kernel", state["weight"].permute(2, 3, 1, 0)
        yield "bias", state["bias"]


def build_tiny_authors(num_classes: int) -> Classifier:
    torch.manual_seed(2)
    config = AxialResNetConfig(
        width=0.125, blocks=(1, 1, 1, 1), attention=AttentionConfig(striding="average_pool"), tight_tables=(8, 8, 4, 2)
    )
    return build_authors(config, num_classes)


def save_authors_file(path: Path, model: Classifier) -> Path:
    """Save a classifier's weights as the authors' training script does."""
    state: dict[str, Tensor] = {}
    replacements = (
        ("encoder.stem.0.conv.", "conv1."),
        ("encoder.stem.0.norm.", "bn1."),
        (".down.conv.", ".conv_down."),
        (".down.norm.", ".bn1."),
        (".up.conv.", ".conv_up."),
        (".up.norm.", ".bn2."),
        (".shortcut.projection.conv.", ".downsample.0."),
        (".shortcut.projection.norm.", ".downsample.1."),
        (".height_attention.", ".hight_block."),
        (".width_attention.", ".width_block."),
        (".qkv.", ".qkv_transform."),
        (".qkv_norm.", ".bn_qkv."),
        (".similarity_norm.", ".bn_similarity."),
        (".retrieved_norm.", ".bn_output."),
        *((f"encoder.stages.{stage}.", f"layer{stage + 1}.") for stage in range(4)),
    )
    for name, value in model.state_dict().items():
        for ours, theirs in replacements:
            name = name.replace(ours, theirs)
        if name.endswith("query_table"):
            key, value_table = (model.state_dict()[find(name, replacements, kind)] for kind in ("key", "value"))
            state[name.replace("query_table", "relative")] = torch.cat([value.flip(0), key, value_table.flip(0)], 1).T
        elif ".qkv_transform." in name or ".bn_qkv." in name:
            ordered = order_by_head(value)
            state[name] = ordered[..., None] if ordered.ndim == 2 else ordered
        elif ".bn_similarity." in name:
            state[name] = value.flatten()
        elif ".bn_output." in name:
            state[name] = value.view(2, -1).T.flatten()
        elif not name.endswith("_table"):
            state[name] = value
    torch.save({"net": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, path)
    return path


def find(name: str, replacements: tuple[tuple[str, str], ...], kind: str) -> str:
    """Return our name of the table of another kind."""
    for ours, theirs in reversed(replacements):
        name = name.replace(theirs, ours)
    return name.replace("query_table", f"{kind}_table")


def order_by_head(value: Tensor) -> Tensor:
    """Turn channels [query of all heads, key of all heads, value of all heads] into [head: query, key, value]."""
    quarter = value.shape[0] // 4
    parts = value.split([quarter, quarter, 2 * quarter])
    return torch.cat([part.unflatten(0, (8, -1)) for part in parts], dim=1).flatten(0, 1)
