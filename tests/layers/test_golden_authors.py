"""Attention layers and blocks against the authors' PyTorch code: outputs, gradients and running statistics."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axial_deeplab.checkpoints.official_pytorch import convert_weights
from axial_deeplab.layers.axial_attention import AxialAttention
from axial_deeplab.layers.normalization import configure_norms
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialBlock
from tests.golden_assert import assert_close, get_entry
from tests.golden_place import Place
from tests.golden_rule import draw_tensor, load_case

LAYERS = ["att_h_k8_s1", "att_w_k8_s1", "att_h_k10_s2", "att_w_k10_s2", "att_w_k12_s1_16to64", "att_h_k16_s2_g4"]
BLOCKS = ["block_k8_s1_ds", "block_k8_s1_id", "block_k12_s2_ds"]


def build(meta: dict[str, Any], state: dict[str, Tensor], name: str) -> tuple[nn.Module, str, int]:
    """Return our module, the prefix that makes the authors' names those of a whole network, and the heads."""
    side = int(re.search(r"_k(\d+)", name)[1])
    stride = int(re.search(r"_s(\d)", name)[1])
    heads = int(match[1]) if (match := re.search(r"_g(\d)", name)) else 8
    if name.startswith("att"):
        channels, in_channels = state["qkv_transform.weight"].shape[0] // 2, state["qkv_transform.weight"].shape[1]
        value_dim = channels // heads
        layer = AxialAttention(
            in_channels,
            "height" if "_h_" in name else "width",
            key_dim=value_dim // 2,
            value_dim=value_dim,
            num_heads=heads,
            max_distance=side - 1,
        )
        module: nn.Module = layer if stride == 1 else nn.Sequential(layer, nn.AvgPool2d(stride))
        return module, "layer1.0.hight_block.", heads
    inner, in_channels = state["conv_down.weight"].shape[:2]
    attention = AttentionConfig(max_distance=side - 1, striding="average_pool")
    return AxialBlock(in_channels, inner, 2 * inner, stride=stride, attention=attention), "layer1.0.", heads


def rename(values: dict[str, Tensor], prefix: str, heads: int) -> dict[str, Tensor]:
    kept = {prefix + name: value for name, value in values.items() if not name.endswith(("_index", "_tracked"))}
    ours = prefix.replace("layer1.0.", "encoder.stages.0.0.").replace("hight_block", "height_attention")
    return {name.removeprefix(ours): value for name, value in convert_weights(kept, heads).items()}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", LAYERS + BLOCKS)
def test_layer(golden: Path, name: str, mode: str, place: Place) -> None:
    meta, arrays = load_case(golden, f"csr_layer_{name}")
    state = {entry["name"]: draw_tensor(entry, meta["seed"]) for entry in meta["variables"]}
    module, prefix, heads = build(meta, state, name)
    configure_norms(module, eps=1e-5, momentum=0.1, correction=1)
    inner = module[0] if isinstance(module, nn.Sequential) else module
    inner.load_state_dict(rename(state, prefix, heads))
    place(module).train(mode == "train")
    x = place(draw_tensor(meta["input"], meta["seed"])).requires_grad_()
    out = module(x)
    out.backward(place(draw_tensor(meta["cotangent"], meta["seed"])))
    place.assert_fused(backward=True, statistics=mode == "train")
    assert_close(out, arrays[f"{mode}/out"], get_entry(meta, f"{mode}/out"))
    assert x.grad is not None
    assert_close(x.grad, arrays[f"{mode}/grad_in"], get_entry(meta, f"{mode}/grad_in"))
    check_values(meta, arrays, f"{mode}/grad/", prefix, heads, {n: p.grad for n, p in inner.named_parameters()})
    if mode == "train":
        check_values(meta, arrays, "train/running/", prefix, heads, dict(inner.named_buffers()))


def check_values(
    meta: dict[str, Any], arrays: dict[str, Any], group: str, prefix: str, heads: int, ours: dict[str, Tensor | None]
) -> None:
    """Compare every array of a group, brought to our layout, with our tensor of that name."""
    names = [name for name in arrays if name.startswith(group) and not name.endswith("_tracked")]
    assert names
    for array in names:
        entry = get_entry(meta, array)
        for name, expected in rename(
            {array.removeprefix(group): torch.from_numpy(arrays[array])}, prefix, heads
        ).items():
            value = ours[name]
            if value is None:  # the shift of the similarity norm, which cancels in the softmax
                assert entry["zero_in_exact_arithmetic"]
            else:
                assert_close(value, expected, entry)


def test_pooling_keeps_odd_maps_in_step_with_the_shortcut() -> None:
    block = AxialBlock(8, 16, 32, stride=2, attention=AttentionConfig(striding="average_pool")).eval()
    assert block(F.relu(torch.randn(1, 8, 9, 7))).shape == (1, 32, 5, 4)
