"""What an encoder does in training alone: leave out branches, compute activations again."""

import copy

import pytest
import torch
from torch import nn

from axial_deeplab.models import axial_resnet_nano, resnet50
from axial_deeplab.models.encoder import Encoder, configure_encoder
from axial_deeplab.models.local_resnet import LocalAttentionBlock
from axial_deeplab.models.resnet import BottleneckBlock


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
    assert [block.drop_path for stage in encoder.stages for block in stage] == [0.125, 0.25, 0.375, 0.375, 0.5]
    plain = make_encoder().eval()
    images = torch.randn(2, 3, 33, 33, dtype=torch.float64)
    assert all(torch.equal(encoder.eval()(images)[key], value) for key, value in plain(images).items())
    encoder.train()
    runs = [encoder(images)[32] for _ in range(6)]
    assert any(not torch.equal(run, runs[0]) for run in runs[1:])


@pytest.mark.parametrize("make", [BottleneckBlock, lambda *c: LocalAttentionBlock(*c, position_sensitive=False)])
def test_a_dropped_branch_leaves_the_shortcut_and_the_mean_stays(make) -> None:
    torch.manual_seed(0)
    block = make(16, 16, 16)
    nn.init.ones_(block.up.norm.weight)
    x = torch.randn(64, 16, 8, 8).relu()
    whole = block(x)
    block.drop_path = 0.25
    some = block(x)
    dropped = torch.tensor([torch.equal(out, image) for out, image in zip(some, x, strict=True)])
    assert 4 <= int(dropped.sum()) <= 32
    branch = x + (whole - x) / 0.75  # exact where no ReLU acts
    kept, active = ~dropped, (whole > 0) & (branch > 0) & (some > 0)
    torch.testing.assert_close(some[kept][active[kept]], branch[kept][active[kept]], atol=1e-4, rtol=1e-4)


def test_models_start_without_drop_path() -> None:
    with torch.device("meta"):
        encoder = resnet50(features_only=True)
    assert all(block.drop_path == 0 for stage in encoder.stages for block in stage)
