"""What an encoder does in training alone: leave out branches, compute activations again."""

import copy

import pytest
import torch
from torch import nn

from axial_deeplab.models import axial_resnet_nano
from axial_deeplab.models.encoder import Encoder, configure_encoder


def make_encoder() -> Encoder:
    torch.manual_seed(0)
    encoder = axial_resnet_nano(features_only=True)
    for name, parameter in encoder.named_parameters():
        if name.endswith("up.norm.weight"):  # zero at the start, which would hide the branches
            nn.init.ones_(parameter)
    return encoder.double()


def run_step(encoder: Encoder) -> dict[str, torch.Tensor]:
    """Return features, gradients and running statistics after a step."""
    torch.manual_seed(1)
    features = encoder(torch.randn(2, 3, 33, 33, dtype=torch.float64))
    sum(value.square().mean() for value in features.values()).backward()
    grads = {f"grad/{name}": p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    return {str(key): value for key, value in features.items()} | grads | dict(encoder.named_buffers())


@pytest.mark.parametrize("drop_path", [0.0, 0.4])
def test_recomputed_stages_change_nothing(drop_path: float) -> None:
    encoder = make_encoder()
    configure_encoder(encoder, drop_path=drop_path)
    again = copy.deepcopy(encoder)
    configure_encoder(again, drop_path=drop_path, recompute=(1, 3, 4))
    expected, actual = run_step(encoder), run_step(again)
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), name


def test_recomputed_stages_keep_less() -> None:
    kept = []
    for recompute in ((), (1, 2, 3, 4)):
        encoder = make_encoder()
        configure_encoder(encoder, recompute=recompute)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x):
            encoder(torch.randn(2, 3, 33, 33, dtype=torch.float64))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3


def test_branches_are_left_out_in_training_alone() -> None:
    encoder = make_encoder()
    configure_encoder(encoder, drop_path=0.5)
    kept = [block.up.keep_probability for stage in encoder.stages for block in stage]
    assert kept == [0.875, 0.75, 0.625, 0.625, 0.5]
    plain = make_encoder().eval()
    images = torch.randn(2, 3, 33, 33, dtype=torch.float64)
    assert all(torch.equal(encoder.eval()(images)[key], value) for key, value in plain(images).items())
    encoder.train()
    runs = [encoder(images)[32] for _ in range(6)]
    assert any(not torch.equal(run, runs[0]) for run in runs[1:])
