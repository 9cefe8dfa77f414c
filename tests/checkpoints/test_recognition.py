"""Networks recognized from names and shapes alone, the largest too: shapes without memory."""

import pytest
import torch

from axial_deeplab.checkpoints.deeplab2 import from_deeplab2, name_panoptic, recognize_deeplab2
from axial_deeplab.checkpoints.deeplab2_plan import infer_encoder, infer_panoptic
from axial_deeplab.checkpoints.deeplab2_variables import VariableReader, canonicalize, classify
from axial_deeplab.models import build_model
from axial_deeplab.models.hybrid_resnet import plan_bottleneck_encoder, plan_wide_encoder
from axial_deeplab.models.planned import PLANS, PanopticPlan, build_panoptic, find_plan
from tests.checkpoints.foreign_files import TINY, build_tiny, list_module, list_variables, to_key


@pytest.mark.parametrize("name", [name for name in PLANS if name != "deeplab2_max_deeplab_l_backbone"])
def test_every_network_is_recognized_and_filled(name: str) -> None:
    with torch.device("meta"):
        model, empty = build_model(name), build_model(name)
    variables = {
        canonicalize(f"{to_key(path)}/{suffix}/.ATTRIBUTES/VARIABLE_VALUE"): value
        for path, module in name_panoptic(model)
        for suffix, value in list_module(module)
    }
    reader = VariableReader(variables)
    assert find_plan(infer_panoptic(reader, infer_encoder(reader, 16), (6, 12, 18), None)) == name
    for path, module in name_panoptic(empty):
        reader.fill(path, module)
    reader.check_all_used()
    assert sum(value.numel() for value in variables.values()) == sum(v.numel() for v in model.state_dict().values())


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("planner", [plan_bottleneck_encoder, plan_wide_encoder])
def test_strides_and_dilations_follow_from_the_output_stride(planner, output_stride: int) -> None:
    plan = PanopticPlan(planner(axial_beyond=0, drop_path=0.0, output_stride=output_stride))
    with torch.device("meta"):
        model = build_panoptic(plan, 19)
    reader = VariableReader(
        {
            canonicalize(f"{to_key(path)}/{suffix}"): value
            for path, module in name_panoptic(model)
            for suffix, value in list_module(module)
        }
    )
    assert infer_encoder(reader, output_stride) == plan.encoder
    assert max(model.encoder.channels) == output_stride


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("encoder/_stage2/_block1/_conv1_bn_act/_conv/kernel/.ATTRIBUTES/VARIABLE_VALUE", "network"),
        ("DeepLab/axial_swidernet/stage1/block1/conv2_bn/conv/kernel:0", "network"),
        ("backbone/_encoder/_stem/_conv/kernel/.ATTRIBUTES/VARIABLE_VALUE", "network"),
        ("instance_center_head_last_layer/bias/.ATTRIBUTES/VARIABLE_VALUE", "network"),
        ("encoder/_decoder_stage3/_block1/_conv1_bn_act/_conv/kernel/.ATTRIBUTES/VARIABLE_VALUE", "stacked decoder"),
        ("DeepLab/max_deeplab_l_backbone/decoder_stage2_resized_fuse/conv/kernel", "stacked decoder"),
        ("semantic_last_layer/bias/.OPTIMIZER_SLOT/optimizer/v/.ATTRIBUTES/VARIABLE_VALUE", "training"),
        ("optimizer/_variables/12/.ATTRIBUTES/VARIABLE_VALUE", "training"),
        ("_CHECKPOINTABLE_OBJECT_GRAPH", "training"),
        ("save_counter/.ATTRIBUTES/VARIABLE_VALUE", "training"),
        ("_transformer_head/kernel/.ATTRIBUTES/VARIABLE_VALUE", "foreign"),
    ],
)
def test_kinds_of_variables(name: str, kind: str) -> None:
    assert classify(name) == kind


def test_an_encoder_alone_gets_the_heads_of_the_network_it_belongs_to() -> None:
    model = build_model("panoptic_deeplab_resnet50", num_classes=3)
    network = recognize_deeplab2(list_variables(model, heads=False), num_classes=3)
    assert (find_plan(network.plan), network.has_heads) == ("panoptic_deeplab_resnet50", False)
    assert network.model.state_dict().keys() == model.state_dict().keys()
    other = recognize_deeplab2(list_variables(model, heads=False), num_classes=3, aspp_rates=(3, 6, 9))
    assert (find_plan(other.plan), other.plan.aspp_rates) == (None, (3, 6, 9))


def test_gaps_in_a_network_are_named() -> None:
    variables = list_variables(build_tiny(4))
    without_stage = {name: value for name, value in variables.items() if "_stage3/" not in name}
    with pytest.raises(ValueError, match="encoder/stage3 has no blocks"):
        from_deeplab2(without_stage)
    without_block = {name: value for name, value in variables.items() if "_stage4/_block1/" not in name}
    with pytest.raises(ValueError, match=r"encoder/stage4 has the blocks \[2\]"):
        from_deeplab2(without_block)


def test_every_weight_of_a_hybrid_learns() -> None:
    torch.manual_seed(0)
    model = build_panoptic(TINY, 4).train()
    for module in model.encoder.modules():
        if hasattr(module, "keep_probability"):  # branches begin at zero, behind which nothing would learn
            torch.nn.init.ones_(module.norm.weight)
    sum(head.square().sum() for head in model(torch.randn(2, 3, 49, 65))).backward()
    still = [name for name, p in model.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0]
    assert still == []
