"""Networks start from checkpoints, and their norms suit the batch."""

from pathlib import Path

import pytest
import torch

from axial_deeplab.checkpoints.load import CheckpointConfig, save_checkpoint
from axial_deeplab.data.scenes import SCENE_CATEGORIES
from axial_deeplab.errors import InputError
from axial_deeplab.layers import BatchNorm
from axial_deeplab.models import build_model
from axial_deeplab.training.config import ModelConfig, OptimizerConfig
from axial_deeplab.training.networks import build_network, start_from
from axial_deeplab.training.optimizers import build_optimizer

NANO = "axial_deeplab_nano"


def save(folder: Path, name: str, num_classes: int) -> str:
    torch.manual_seed(1)
    categories = tuple(SCENE_CATEGORIES[0]._replace(id=number) for number in range(num_classes))
    save_checkpoint(folder, build_model(name, num_classes), CheckpointConfig(name, categories, preprocess={}))
    return str(folder)


def test_weights_that_fit_are_taken_and_others_named(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, NANO, 9)
    model = build_model(NANO, 4)
    message = start_from(model, checkpoint)
    assert message.endswith("new weights in: semantic_head")
    source = build_model(NANO, 9)
    torch.manual_seed(1)
    source = build_model(NANO, 9)
    assert torch.equal(model.encoder.stem[0].conv.weight, source.encoder.stem[0].conv.weight)


def test_encoder_starts_from_a_classifier(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, "resnet50", 3)
    message = start_from(build_model("panoptic_deeplab_resnet50", 4), checkpoint)
    assert "encoder" not in message.split("new weights in:")[1]


def test_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    checkpoint = save(tmp_path, "resnet50", 3)
    with pytest.raises(InputError, match="has no weight that fits"):
        start_from(torch.nn.Linear(2, 2), checkpoint)


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
