"""The norms of networks suit the batch, parts of them stay as they are, and optimizers hold the rest at its rates."""

import pytest
import torch

from axial_deeplab.layers import BatchNorm
from axial_deeplab.layers.convolution import ConvNormAdd
from axial_deeplab.layers.normalization import SimilarityNorm
from axial_deeplab.models import build_model
from axial_deeplab.training.config import ModelConfig, OptimizerConfig
from axial_deeplab.training.networks import build_network
from axial_deeplab.training.optimizers import build_optimizer

NANO = "axial_deeplab_nano"


def test_frozen_norms_keep_their_statistics_and_learn_their_weights() -> None:
    model = build_network(ModelConfig(NANO, norm="frozen", norm_momentum=0.25), 4)
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    assert all(norm.momentum == 0.25 for norm in norms)
    before = [norm.running_mean.clone() for norm in norms]
    sum(head.square().mean() for head in model(torch.randn(1, 3, 33, 33))).backward()
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    assert norms[0].weight.grad is not None


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "sgd"])
def test_weight_decay_acts_on_convolutions_and_projections_alone(name: str) -> None:
    model = build_model(NANO, 4)
    optimizer = build_optimizer(model, OptimizerConfig(name, lr=0.1, weight_decay=0.01))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, others = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert all(name.endswith((".conv.weight", "qkv.weight", "predict.weight")) for name in decayed)
    assert not any(name.endswith(("conv.weight", "qkv.weight")) for name in others)
    assert decayed | others == {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("what", ["encoder", "norms"])
def test_frozen_parts_have_no_gradient_keep_their_statistics_and_are_not_optimized(what: str) -> None:
    model = build_network(ModelConfig(NANO, freeze=what), 4)
    norms = [module for module in model.encoder.modules() if isinstance(module, BatchNorm | SimilarityNorm)]
    frozen = {id(parameter) for module in norms for parameter in module.parameters()}
    if what == "encoder":
        frozen = {id(parameter) for parameter in model.encoder.parameters()}
    assert frozen == {
        id(parameter)
        for parameter in model.encoder.parameters()
        if not parameter.requires_grad  # nothing else stays
    }
    optimizer = build_optimizer(model, OptimizerConfig("sgd", weight_decay=0.1))
    assert not frozen & {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    sum(head.square().mean() for head in model(torch.randn(2, 3, 33, 33))).backward()
    moved = {name for name, value in model.named_buffers() if not torch.equal(value, buffers[name])}
    assert moved  # those of decoders and heads
    assert not any(name.startswith("encoder.") for name in moved)
    assert all(parameter.grad is None for parameter in model.parameters() if id(parameter) in frozen)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in learning)  # so processes need not look for unused ones


def test_frozen_encoder_drops_no_branches_in_training() -> None:
    name = "deeplab2_max_deeplab_s_backbone"  # drops some by itself
    encoder = build_network(ModelConfig(name, freeze="encoder"), 4).encoder
    assert encoder.training
    ends = [module for module in encoder.modules() if isinstance(module, ConvNormAdd)]
    for end in ends:
        torch.nn.init.ones_(end.norm.weight)  # a new branch adds nothing
    images = torch.randn(2, 3, 33, 33)
    with torch.no_grad():
        trained, scored = encoder(images), encoder.eval()(images)
    assert all(torch.equal(trained[stride], scored[stride]) for stride in scored)
    assert len(ends) > 10
    learning = build_network(ModelConfig(name, freeze="norms"), 4).encoder
    assert any(module.keep_probability < 1 for module in learning.modules() if isinstance(module, ConvNormAdd))


def test_trunk_has_its_own_rate_and_the_same_decay() -> None:
    model = build_model(NANO, 4)
    optimizer = build_optimizer(model, OptimizerConfig("adamw", lr=0.1, trunk_rate=0.25, weight_decay=0.01))
    groups = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert groups == [(0.1, 0.01), (0.1, 0.0), (0.025, 0.01), (0.025, 0.0)]
    held = [{id(parameter) for parameter in group["params"]} for group in optimizer.param_groups]
    trunk = {id(parameter) for parameter in model.encoder.parameters() if parameter.requires_grad}
    assert held[2] | held[3] == trunk
    assert held[0] | held[1] | trunk == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert sum(map(len, held)) == len(held[0] | held[1] | trunk)
