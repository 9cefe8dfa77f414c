"""The stand-in for the authors' layer is their layer, and ours."""

from pathlib import Path

import pytest
import torch

from axial_deeplab.layers import AxialAttention
from axial_deeplab.layers.normalization import configure_norms
from benchmarks.authors_layer import AuthorsAxialAttention, convert_to_ours
from tests.golden_assert import assert_close, get_entry
from tests.golden_rule import draw_tensor, load_case


def make_pair(*, along_width: bool) -> tuple[AuthorsAxialAttention, AxialAttention]:
    torch.manual_seed(0)
    theirs = AuthorsAxialAttention(12, 32, 9, num_heads=4, along_width=along_width)
    for norm in (theirs.bn_qkv, theirs.bn_similarity, theirs.bn_output):
        torch.nn.init.normal_(norm.weight, 1.0, 0.2)
        torch.nn.init.normal_(norm.bias, 0.0, 0.2)
    axis = "width" if along_width else "height"
    ours = AxialAttention(12, axis, key_dim=4, value_dim=8, num_heads=4, max_distance=8)
    configure_norms(ours, eps=1e-5, momentum=0.1, correction=1)
    ours.load_state_dict(convert_to_ours(theirs.state_dict(), 4))
    return theirs, ours


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("along_width", [False, True])
def test_stand_in_equals_our_layer(along_width: bool, training: bool) -> None:
    theirs, ours = (layer.train(training) for layer in make_pair(along_width=along_width))
    x = torch.randn(2, 12, 9, 9)
    results = []
    for layer in (theirs, ours):
        given = x.clone().requires_grad_()
        out = layer(given)
        out.square().sum().backward()
        gradients = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
        results.append((out, given.grad, gradients))
    torch.testing.assert_close(results[1][:2], results[0][:2], rtol=1e-4, atol=1e-4)
    for name, expected in convert_to_ours(results[0][2], 4).items():
        if name != "similarity_norm.bias":  # cancels in the softmax: a sum of rounding errors there, nothing here
            torch.testing.assert_close(results[1][2][name], expected, rtol=1e-4, atol=1e-3)
    if training:
        buffers = dict(ours.named_buffers())
        for name, expected in convert_to_ours(dict(theirs.named_buffers()), 4).items():
            torch.testing.assert_close(buffers[name], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", ["att_h_k8_s1", "att_w_k8_s1"])
def test_stand_in_equals_the_authors_layer(golden: Path, name: str, mode: str) -> None:
    meta, arrays = load_case(golden, f"csr_layer_{name}")
    state = {entry["name"]: draw_tensor(entry, meta["seed"]) for entry in meta["variables"]}
    channels = state["qkv_transform.weight"].shape
    layer = AuthorsAxialAttention(channels[1], channels[0] // 2, 8, along_width="_w_" in name)
    layer.load_state_dict(state, strict=False)
    layer.train(mode == "train")
    x = draw_tensor(meta["input"], meta["seed"]).requires_grad_()
    out = layer(x)
    out.backward(draw_tensor(meta["cotangent"], meta["seed"]))
    assert_close(out, arrays[f"{mode}/out"], get_entry(meta, f"{mode}/out"))
    assert x.grad is not None
    assert_close(x.grad, arrays[f"{mode}/grad_in"], get_entry(meta, f"{mode}/grad_in"))
