"""Layers against deeplab2: outputs, gradients and moving statistics, in eval and training mode."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from axial_deeplab.checkpoints.deeplab2 import name_aspp, name_block, name_decoder, name_head
from axial_deeplab.checkpoints.deeplab2_variables import VariableReader
from axial_deeplab.layers.aspp import ASPP
from axial_deeplab.layers.axial_attention import AxialAttention
from axial_deeplab.layers.convolution import ConvNorm, ConvNormAct
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialBlock, Subsample
from axial_deeplab.models.decoder import Decoder, DecoderConfig
from axial_deeplab.models.encoder import build_inception_stem
from axial_deeplab.models.heads import Head
from axial_deeplab.models.resnet import BottleneckBlock
from tests.golden_assert import assert_close, get_entry
from tests.golden_place import Place
from tests.golden_rule import draw_tensor, load_case

Named = list[tuple[str, nn.Module]]


class BlockSum(nn.Module):
    """A residual block as deeplab2 has it: it activates its input and leaves its output as it is."""

    def __init__(self, block: AxialBlock | BottleneckBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block.compute_sum(x.relu())


class DecoderAndHead(nn.Module):
    """One decoder and one head on the flat rows that the fixture has as input."""

    def __init__(self, decoder: Decoder, head: Head) -> None:
        super().__init__()
        self.decoder, self.head = decoder, head

    def forward(self, x: Tensor) -> Tensor:
        shapes = {16: (5, 5, 32), 8: (9, 9, 20), 4: (17, 17, 10)}
        parts = x.split([int(np.prod(shape)) for shape in shapes.values()], dim=1)
        features = {
            stride: part.view(-1, *shape).permute(0, 3, 1, 2)
            for (stride, shape), part in zip(shapes.items(), parts, strict=True)
        }
        return self.head(self.decoder(features))


def build_attention(state: dict[str, Tensor], path: str, axis: str) -> AxialAttention:
    kernel = state[f"{path}/qkv_kernel"]
    terms, _, heads, _, _ = state[f"{path}/batch_norm_similarity/gamma"].shape
    value_dim = state[f"{path}/batch_norm_retrieved_output/gamma"].shape[-1]
    key_dim = (kernel.shape[1] - heads * value_dim) // (2 * heads)
    rpe = terms == 3
    return AxialAttention(
        kernel.shape[0],
        axis,
        key_dim=key_dim,
        value_dim=value_dim,
        num_heads=heads,
        query_rpe=rpe,
        key_rpe=rpe,
        value_rpe=rpe,
    )


def build(name: str, state: dict[str, Tensor]) -> tuple[nn.Module, Named]:
    """Return our module for a case, and deeplab2's path of each of its parts."""
    stride = int(match[1]) if (match := re.search(r"_s(\d)", name)) else 1
    first = next(iter(state))
    root = first.split("/")[0]
    if name.startswith("att1d"):
        layer = build_attention(state, root, "width")
        return layer, [(root, layer)]
    if name.startswith("att2d"):
        height, width = (build_attention(state, f"{root}/{axis}_axis", axis) for axis in ("height", "width"))
        module = nn.Sequential(height, Subsample(-2, stride), width, Subsample(-1, stride))
        return module, [(f"{root}/height_axis", height), (f"{root}/width_axis", width)]
    if name.startswith(("axblock", "convblock")):
        shape = state[f"{root}/conv1_bn_act/conv/kernel"].shape
        out = state[f"{root}/conv3_bn/conv/kernel"].shape[3]
        if name.startswith("axblock"):
            heads = state[f"{root}/attention/height_axis/batch_norm_similarity/gamma"].shape[2]
            block: Any = AxialBlock(shape[2], shape[3], out, stride=stride, attention=AttentionConfig(num_heads=heads))
        else:
            block = BottleneckBlock(shape[2], shape[3], out, stride=stride, dilation=2 if "rate2" in name else 1)
        return BlockSum(block), list(name_block(root, block))
    if name.startswith("inception"):
        convs = ["conv1_bn_act", "conv2_bn_act", "conv3_bn"]
        channels = [state[f"{root}/{conv}/conv/kernel"].shape[3] for conv in convs]
        stem = build_inception_stem((channels[0], channels[1], channels[2]), max_pool=False)
        plain = ConvNorm(channels[1], channels[2], 3)  # deeplab2 leaves the activation to the next block
        module = nn.Sequential(stem[0], stem[1], plain)
        return module, [(f"{root}/{conv}", part) for conv, part in zip(convs, module, strict=True)]
    if name.startswith("conv7x7"):
        shape = state[f"{root}/conv/kernel"].shape
        conv = ConvNormAct(shape[2], shape[3], 7, stride=2)
        return conv, [(root, conv)]
    if name.startswith("aspp"):
        aspp = ASPP(24, 16, (2, 4, 6), pool=(5, 5) if "pool5" in name else None)
        return aspp, list(name_aspp(root, aspp))
    config = DecoderConfig(context_channels=16, low_level_channels=(12, 8), channels=16)
    decoder = Decoder({4: 10, 8: 20, 16: 32}, ConvNormAct(32, 16), config)
    head = Head(16, 8, 5)
    return DecoderAndHead(decoder, head), [*name_decoder(f"{root}/decoder", decoder), *name_head(f"{root}/head", head)]


def fill(named: Named, values: dict[str, Tensor]) -> None:
    reader = VariableReader(values)
    for path, module in named:
        reader.fill(path, module)
    reader.check_all_used()


def to_ours(x: Tensor) -> Tensor:
    """Bring channels last to channels first; flat rows stay."""
    return x.movedim(-1, 1) if x.ndim > 2 else x


def to_theirs(x: Tensor) -> Tensor:
    return x.movedim(1, -1) if x.ndim > 2 else x


CASES = [
    "att1d_L9",
    "att1d_L12_h4",
    "att1d_L9_content_only",
    "att2d_9x9_s1",
    "att2d_9x11_s2",
    "att2d_8x10_s2_even",
    "axblock_9x9_s1_proj",
    "axblock_9x9_s1_id",
    "axblock_9x9_s2_proj",
    "convblock_9x9_s2_proj",
    "convblock_9x9_s1_rate2",
    "inception_stem_17x17",
    "conv7x7_s2_even16",
    "conv7x7_s2_odd17",
    "aspp_9x9_global",
    "aspp_9x9_pool5",
    "pdl_decoder_head",
]


def iterate_modes(arrays: dict[str, np.ndarray]) -> Iterator[str]:
    for mode in ("eval", "train"):
        if f"{mode}/out" in arrays:
            yield mode


@pytest.mark.parametrize("name", CASES)
def test_layer(golden: Path, name: str, place: Place) -> None:
    meta, arrays = load_case(golden, f"dl2_layer_{name}")
    state = {entry["name"]: draw_tensor(entry, meta["seed"]) for entry in meta["variables"]}
    for mode in iterate_modes(arrays):
        module, named = build(name, state)
        fill(named, state)
        place(module).train(mode == "train")
        x = place(to_ours(draw_tensor(meta["input"], meta["seed"]))).requires_grad_()
        out = module(x)
        out.backward(place(to_ours(draw_tensor(meta["cotangent"], meta["seed"]))))
        place.assert_fused(backward=True, statistics=mode == "train")
        assert_close(to_theirs(out), arrays[f"{mode}/out"], get_entry(meta, f"{mode}/out"))
        assert x.grad is not None
        assert_close(to_theirs(x.grad), arrays[f"{mode}/grad_in"], get_entry(meta, f"{mode}/grad_in"))
        check_group(meta, arrays, f"{mode}/grad/", name, state, {n: p.grad for n, p in module.named_parameters()})
        if mode == "train":
            check_group(meta, arrays, "train/moving/", name, state, dict(module.named_buffers()))


def check_group(
    meta: dict[str, Any],
    arrays: dict[str, np.ndarray],
    group: str,
    name: str,
    state: dict[str, Tensor],
    ours: dict[str, Tensor | None],
) -> None:
    """Fill a second module with the expected values, so that both are in our layout, and compare by name."""
    found = {array.removeprefix(group): array for array in arrays if array.startswith(group)}
    assert found
    for theirs, array in found.items():
        marks = {key: torch.full_like(value, torch.nan) for key, value in state.items()}
        marks[theirs] = torch.from_numpy(arrays[array])
        expected, named = build(name, state)
        fill(named, marks)
        entry = copy.copy(get_entry(meta, array))
        if array.endswith("moving_variance"):
            entry["noise_fp32_vs_fp64"] = (
                0.0  # a difference between two conventions, not noise (see the fixtures' README)
            )
        for key, value in [*expected.named_parameters(), *expected.named_buffers()]:
            if value.isnan().any():
                continue
            if ours[key] is None:
                assert entry["zero_in_exact_arithmetic"]
            else:
                assert_close(ours[key], value.detach(), entry)
