"""deeplab2's encoders block by block: convolutions at first, axial attention in the deep stages; Axial-SWideRNet among them.

A plan names every block, so that a network can be built from a config, and a config read off the variables of a checkpoint.

Source: deeplab2, model/encoder/axial_resnet_instances and model/layers/axial_block_groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2
from typing import Literal

from torch import nn

from axial_deeplab.models.axial_resnet import AttentionConfig, AxialBlock
from axial_deeplab.models.encoder import Encoder, build_conv_stem, build_inception_stem
from axial_deeplab.models.resnet import BasicBlock, BottleneckBlock


@dataclass(frozen=True)
class BlockPlan:
    """One residual block.

    Attributes:
        kind: "axial" (1x1, attention along both axes, 1x1), "bottleneck" (1x1, 3x3, 1x1) or "basic" (3x3, 3x3).
        channels: Output channels of its convolutions in their order; the last is the block's.
        stride: Step of the block.
        dilations: Of the first and the second 3x3 convolution; attention has none.
        keep_probability: Chance of a sample to keep the branch in training.
    """

    kind: Literal["axial", "bottleneck", "basic"]
    channels: tuple[int, ...]
    stride: int = 1
    dilations: tuple[int, int] = (1, 1)
    keep_probability: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a block whose convolutions are not counted as its kind has them."""
        wanted = 3 if self.kind == "bottleneck" else 2
        if len(self.channels) != wanted:
            raise ValueError(f"a block of kind {self.kind} has {wanted} convolutions, got channels {self.channels}")


@dataclass(frozen=True)
class EncoderPlan:
    """One encoder.

    Attributes:
        stem_channels: Output channels of the stem's convolutions, one or three; the first has stride 2.
        stem_kernel: Side of these convolutions.
        stem_blocks: Blocks at stride 2, before the first stage.
        stages: Blocks of the stages whose last maps are the features.
        num_heads: Heads of every attention layer.
        max_distance: Largest distance with a position vector of its own.
    """

    stem_channels: tuple[int, ...]
    stem_kernel: int
    stem_blocks: tuple[BlockPlan, ...]
    stages: tuple[tuple[BlockPlan, ...], ...]
    num_heads: int = 8
    max_distance: int = 254

    def __post_init__(self) -> None:
        """Refuse a stem of a form that there is not."""
        if len(self.stem_channels) not in (1, 3) or (len(self.stem_channels) == 3 and self.stem_kernel != 3):
            raise ValueError(f"a stem is one convolution or three of 3x3, got channels {self.stem_channels}")


def plan_bottleneck_encoder(
    width: float = 1.0,
    *,
    stem: Literal["conv", "inception"] = "inception",
    axial_beyond: int = 0,
    drop_path: float = 0.0,
    output_stride: int = 16,
) -> EncoderPlan:
    """Plan a ResNet-50 without max-pool, whose blocks attend where their input has stride `axial_beyond` or more.

    Args:
        width: Factor on all channels but the stem's.
        stem: One 7x7 convolution, or three 3x3 ("beta").
        axial_beyond: Stride from which blocks attend, counted as if no stride were given up; 0 for never.
        drop_path: Chance at stride 32 of a sample to lose a branch, falling linearly with the depth; from stride 16 on.
        output_stride: Stride of the last stage: later blocks are dilated instead.
    """
    stages = []
    for stage, num_blocks in zip((2, 3, 4, 5), (3, 4, 6, 3), strict=True):
        inner = round(16 * width) * 2**stage
        axial, convolutions = (2 * inner, 4 * inner), (inner, inner, 4 * inner)
        stages.append(_plan_stage(stage, num_blocks, (axial, convolutions), axial_beyond, output_stride))
    channels, kernel = ((64,), 7) if stem == "conv" else ((64, 64, 128), 3)
    return set_drop_path(EncoderPlan(channels, kernel, (), tuple(stages)), drop_path, beyond=16)


def plan_wide_encoder(
    depth: float = 1.0, *, axial_beyond: int = 16, drop_path: float = 0.2, output_stride: int = 16
) -> EncoderPlan:
    """Plan Wide-ResNet-41, or with attention Axial-SWideRNet; the arguments are those of `plan_bottleneck_encoder`.

    Args:
        depth: Factor on the blocks of all stages but the first, rounded down.
        axial_beyond: Stride from which blocks attend; 0 for never.
        drop_path: Chance at stride 32 of a sample to lose a branch, falling linearly with the depth; from stride 4 on.
        output_stride: Stride of the last stage.
    """
    stages = [_plan_stage(1, 3, ((128, 128), (128, 128)), 0, output_stride)]
    for stage, num_blocks in zip((2, 3, 4, 5), (3, 6, 3, 3), strict=True):
        inner = 16 * 2**stage
        convolutions = (4 * inner, 4 * inner) if stage < 5 else (inner, 2 * inner, 4 * inner)
        channels = ((4 * inner, 4 * inner), convolutions)
        stages.append(_plan_stage(stage, int(num_blocks * depth), channels, axial_beyond, output_stride))
    return set_drop_path(EncoderPlan((64,), 3, stages[0], tuple(stages[1:])), drop_path, beyond=4)


def _plan_stage(
    stage: int, num_blocks: int, channels: Sequence[tuple[int, ...]], axial_beyond: int, output_stride: int
) -> tuple[BlockPlan, ...]:
    """Plan the blocks of stage 1 to 5, whose stride would be 2 ** stage, with channels for attention or for convolutions."""
    blocks = []
    for number in range(num_blocks):
        stride = 2 if number == 0 and stage > 1 and 2**stage <= output_stride else 1
        if 0 < axial_beyond <= get_input_stride(stage, number):
            blocks.append(BlockPlan("axial", channels[0], stride))
        else:
            kind: Literal["basic", "bottleneck"] = "basic" if len(channels[1]) == 2 else "bottleneck"
            dilations = get_dilations(stage, number, output_stride)
            blocks.append(
                BlockPlan(kind, channels[1], stride, dilations if kind == "basic" else (dilations[0], dilations[0]))
            )
    return tuple(blocks)


def get_input_stride(stage: int, number: int) -> int:
    """Return the stride that the input of a block would have if none were given up."""
    return 2 ** (stage if number or stage == 1 else stage - 1)


def get_dilations(stage: int, number: int, output_stride: int) -> tuple[int, int]:
    """Return the dilations of a block's two 3x3 convolutions: the strides that lie between them and `output_stride`."""
    return max(1, get_input_stride(stage, number) // output_stride), max(1, 2**stage // output_stride)


def set_drop_path(plan: EncoderPlan, rate: float, *, beyond: int) -> EncoderPlan:
    """Return the plan with chances to keep a branch of 1 - rate * (log2(stride) - 1) / 4 from stride `beyond` on."""

    def set_stage(stage: int, blocks: Sequence[BlockPlan]) -> tuple[BlockPlan, ...]:
        strides = [get_input_stride(stage, number) for number in range(len(blocks))]
        chances = [1 - rate * (log2(stride) - 1) / 4 if stride >= beyond else 1.0 for stride in strides]
        return tuple(replace(block, keep_probability=chance) for block, chance in zip(blocks, chances, strict=True))

    stages = tuple(set_stage(stage, blocks) for stage, blocks in enumerate(plan.stages, start=2))
    return replace(plan, stem_blocks=set_stage(1, plan.stem_blocks), stages=stages)


def build_planned_encoder(plan: EncoderPlan) -> Encoder:
    """Build the encoder of a plan; features come keyed by output stride."""
    first = plan.stem_channels[0]
    if len(plan.stem_channels) == 1:
        stem = build_conv_stem(first, max_pool=False, kernel_size=plan.stem_kernel)
    else:
        stem = build_inception_stem((first, *plan.stem_channels[1:]), max_pool=False)  # type: ignore[arg-type]
    attention = AttentionConfig(num_heads=plan.num_heads, max_distance=plan.max_distance)
    in_channels, stride = plan.stem_channels[-1], 2
    if plan.stem_blocks:
        stem.append(_build_blocks(in_channels, plan.stem_blocks, attention))
        in_channels = plan.stem_blocks[-1].channels[-1]
    stages, strides, channels = [], [], []
    for blocks in plan.stages:
        stages.append(_build_blocks(in_channels, blocks, attention))
        in_channels, stride = blocks[-1].channels[-1], stride * blocks[0].stride
        strides.append(stride)
        channels.append(in_channels)
    return Encoder(stem, stages, strides=strides, channels=channels)


def _build_blocks(in_channels: int, plans: Sequence[BlockPlan], attention: AttentionConfig) -> nn.Sequential:
    blocks = nn.Sequential()
    for plan in plans:
        blocks.append(_build_block(in_channels, plan, attention))
        in_channels = plan.channels[-1]
    return blocks


def _build_block(in_channels: int, plan: BlockPlan, attention: AttentionConfig) -> nn.Module:
    first, last, keep = plan.channels[0], plan.channels[-1], plan.keep_probability
    if plan.kind == "axial":
        return AxialBlock(in_channels, first, last, stride=plan.stride, attention=attention, keep_probability=keep)
    if plan.kind == "basic":
        return BasicBlock(in_channels, first, last, stride=plan.stride, dilations=plan.dilations, keep_probability=keep)
    return BottleneckBlock(
        in_channels,
        first,
        last,
        stride=plan.stride,
        dilation=plan.dilations[0],
        middle_channels=plan.channels[1],
        keep_probability=keep,
    )
