"""Folding norms changes the speed of a network, not what it computes."""

import pytest
import torch

from axial_deeplab.layers.folding import fold_norms
from axial_deeplab.layers.normalization import BatchNorm, SimilarityNorm
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialResNetConfig, build_axial_resnet


def build_encoder() -> torch.nn.Module:
    torch.manual_seed(0)
    config = AxialResNetConfig(
        width=0.125, blocks=(1, 1, 1, 1), output_stride=16, attention=AttentionConfig(num_heads=2)
    )
    encoder = build_axial_resnet(config)
    for norm in encoder.modules():
        if isinstance(norm, BatchNorm | SimilarityNorm):
            torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
            if isinstance(norm, BatchNorm):
                torch.nn.init.normal_(norm.bias)
                torch.nn.init.normal_(norm.running_mean)
    return encoder.eval().double()


def test_folded_network_computes_the_same() -> None:
    encoder = build_encoder()
    x = torch.randn(1, 3, 65, 49, dtype=torch.float64)
    with torch.no_grad():
        expected = encoder(x)
        fold_norms(encoder)
        actual = encoder(x)
    assert not any(isinstance(part, BatchNorm | SimilarityNorm) for part in encoder.modules())
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-8, atol=1e-8)


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_norms(build_encoder().train())


def test_weights_take_the_type_that_is_asked_for() -> None:
    encoder = build_encoder().float()
    fold_norms(encoder, dtype=torch.bfloat16)
    assert {p.dtype for name, p in encoder.named_parameters() if ".conv." in name or ".qkv." in name} == {
        torch.bfloat16
    }
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert all(x.isfinite().all() for x in encoder(torch.randn(1, 3, 33, 33)).values())


def test_gradients_of_a_folded_network_go_through_the_residual_sum() -> None:
    from axial_deeplab.layers.folding import Folded

    x, residual = (torch.randn(1, 2, 3, 3, requires_grad=True) for _ in range(2))
    expected = torch.autograd.grad((x + residual).relu().sum(), (x, residual))
    actual = torch.autograd.grad(Folded()(x * 1, residual=residual, relu=True).sum(), (x, residual))
    assert all(map(torch.equal, actual, expected))
