"""deeplab2's networks from plans: counts of its encoders, chances of stochastic depth, names found again."""

import dataclasses

import pytest
import torch

from axial_deeplab.layers.convolution import ConvNormAdd, drop_path
from axial_deeplab.models import build_model, count_parameters
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialBlock
from axial_deeplab.models.hybrid_resnet import (
    BlockPlan,
    EncoderPlan,
    build_planned_encoder,
    plan_bottleneck_encoder,
    plan_wide_encoder,
    set_drop_path,
)
from axial_deeplab.models.planned import PLANS, PanopticPlan, find_plan
from axial_deeplab.models.resnet import BasicBlock, BottleneckBlock
from axial_deeplab.serialization import from_plain, to_plain


@pytest.mark.parametrize(
    ("plan", "parameters"),
    [
        (plan_bottleneck_encoder(stem="conv"), 23_508_032),
        (plan_bottleneck_encoder(), 23_631_808),
        (plan_wide_encoder(axial_beyond=0), 109_014_080),
        (plan_wide_encoder(3, axial_beyond=0), 333_245_504),
        (plan_wide_encoder(4.5, axial_beyond=0), 487_453_760),
        (plan_wide_encoder(4.5), 570_346_912),
    ],
)
def test_encoders_have_the_reference_s_parameters(plan: EncoderPlan, parameters: int) -> None:
    with torch.device("meta"):
        assert count_parameters(build_planned_encoder(plan)) == parameters


def list_chances(blocks: tuple[BlockPlan, ...]) -> list[float]:
    return [round(block.keep_probability, 4) for block in blocks]


def test_chances_fall_with_the_stride() -> None:
    small, wide = PLANS["deeplab2_max_deeplab_s_backbone"].encoder, PLANS["deeplab2_axial_swidernet_1_1_1"].encoder
    assert [list_chances(blocks) for blocks in small.stages] == [
        [1.0] * 3,
        [1.0] * 4,
        [1.0] + [0.85] * 5,
        [0.85, 0.8, 0.8],
    ]
    assert [list_chances(blocks) for blocks in (wide.stem_blocks, *wide.stages)] == [
        [1.0] * 3,
        [1.0, 0.95, 0.95],
        [0.95] + [0.9] * 5,
        [0.9, 0.85, 0.85],
        [0.85, 0.8, 0.8],
    ]
    with torch.device("meta"):
        built = [
            m.keep_probability
            for m in build_model("deeplab2_axial_swidernet_1_1_1").modules()
            if isinstance(m, ConvNormAdd)
        ]
    assert built == [b.keep_probability for blocks in (wide.stem_blocks, *wide.stages) for b in blocks]


@pytest.mark.parametrize(
    "block",
    [
        AxialBlock(16, 16, 16, attention=AttentionConfig(), keep_probability=0.75),
        BottleneckBlock(16, 8, 16, middle_channels=12, keep_probability=0.75),
        BasicBlock(16, 8, 16, keep_probability=0.75),
    ],
    ids=["axial", "bottleneck", "basic"],
)
def test_a_dropped_branch_leaves_the_shortcut(block: AxialBlock | BottleneckBlock | BasicBlock) -> None:
    torch.manual_seed(0)
    torch.nn.init.ones_(block.up.norm.weight)
    x = torch.randn(64, 16, 5, 5).relu()
    dropped = (block.train().compute_sum(x) == x).flatten(1).all(1)
    assert 6 <= dropped.sum() <= 27  # 16 are expected, 3.5 is the standard deviation
    assert not (block.eval().compute_sum(x) == x).flatten(1).all(1).any()


def test_branches_that_stay_are_scaled_by_the_chance() -> None:
    torch.manual_seed(0)
    kept = drop_path(torch.ones(4000, 2, 1, 1), 0.8)
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    assert (kept[:, 0] == kept[:, 1]).all()
    assert kept.mean() == pytest.approx(1.0, abs=0.03)
    half = drop_path(torch.full((100, 1), 3.0).bfloat16(), 0.8)
    assert set(half.unique().tolist()) == {0.0, 3.75}


@pytest.mark.parametrize("name", PLANS)
def test_plans_build_what_their_names_build(name: str) -> None:
    plan = dataclasses.replace(PLANS[name], encoder=set_drop_path(PLANS[name].encoder, 0.0, beyond=1))
    found = find_plan(plan)
    assert found == {"deeplab2_max_deeplab_l_backbone": "deeplab2_axial_swidernet_1_1_1"}.get(name, name)
    assert from_plain(PanopticPlan, to_plain(plan), where="plan") == plan
    assert find_plan(dataclasses.replace(plan, head_channels=(1, 2, 3))) is None
    with torch.device("meta"):
        encoder, named = build_planned_encoder(plan.encoder), build_model(name).encoder
    assert str(encoder) == str(named)  # strides and dilations too


def test_wide_resnet41_dilates_its_last_stage() -> None:
    last = plan_wide_encoder(axial_beyond=0).stages[-1]
    assert [block.channels for block in last] == [(512, 1024, 2048)] * 3
    assert [block.dilations[0] for block in last] == [1, 2, 2]
    assert [block.stride for block in last] == [1, 1, 1]


def test_blocks_have_the_convolutions_of_their_kind() -> None:
    with pytest.raises(ValueError, match="bottleneck has 3 convolutions"):
        BlockPlan("bottleneck", (8, 16))
    with pytest.raises(ValueError, match="a stem is one convolution or three"):
        EncoderPlan((64, 64), 3, (), ())
