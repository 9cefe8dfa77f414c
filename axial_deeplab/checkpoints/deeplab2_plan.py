"""Read the plan of a deeplab2 network off the names and shapes of its variables."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from axial_deeplab.checkpoints.deeplab2_variables import VariableReader
from axial_deeplab.models.decoder import DecoderConfig
from axial_deeplab.models.hybrid_resnet import BlockPlan, EncoderPlan, get_dilations
from axial_deeplab.models.planned import PanopticPlan

_INCEPTION = ("conv1_bn_act", "conv2_bn_act", "conv3_bn")
_SIMILARITY = "attention/height_axis/batch_norm_similarity/gamma"


def infer_encoder(reader: VariableReader, output_stride: int) -> EncoderPlan:
    """Return the plan of the encoder; strides and dilations follow from `output_stride`, which no variable records.

    Raises:
        ValueError: If a variable that decides is missing, or has another number of dimensions.
    """
    if reader.has("encoder/stem/conv/kernel"):
        kernels = [reader.get_shape("encoder/stem/conv/kernel", 4)]
    else:
        kernels = [reader.get_shape(f"encoder/stem/{name}/conv/kernel", 4) for name in _INCEPTION]
    stages = [_infer_stage(reader, stage, output_stride) for stage in (1, 2, 3, 4, 5)]
    if not all(stages[1:]):
        raise ValueError(f"not a deeplab2 network: encoder/stage{2 + stages[1:].index(())} has no blocks")
    num_heads, rows = 8, 509
    for name in reader.find(rf"encoder/stage\d/block\d+/{_SIMILARITY}$")[:1]:
        num_heads = reader.get_shape(name, 5)[2]
        rows = reader.get_shape(name.replace("batch_norm_similarity/gamma", "query_rpe/embeddings"), 2)[0]
    return EncoderPlan(
        tuple(kernel[3] for kernel in kernels),
        kernels[0][0],
        stages[0],
        tuple(stages[1:]),
        num_heads=num_heads,
        max_distance=(rows - 1) // 2,
    )


def _infer_stage(reader: VariableReader, stage: int, output_stride: int) -> tuple[BlockPlan, ...]:
    found = {int(name.split("/")[2].removeprefix("block")) for name in reader.find(rf"encoder/stage{stage}/block\d+/")}
    if found != set(range(1, len(found) + 1)):
        raise ValueError(f"not a deeplab2 network: encoder/stage{stage} has the blocks {sorted(found)}")
    strides = stage > 1 and 2**stage <= output_stride
    return tuple(
        _infer_block(reader, stage, number, 2 if strides and number == 0 else 1, output_stride)
        for number in range(len(found))
    )


def _infer_block(reader: VariableReader, stage: int, number: int, stride: int, output_stride: int) -> BlockPlan:
    path = f"encoder/stage{stage}/block{number + 1}"

    def get_channels(*names: str) -> tuple[int, ...]:
        return tuple(reader.get_shape(f"{path}/{name}/conv/kernel", 4)[3] for name in names)

    if reader.has(f"{path}/{_SIMILARITY}"):
        return BlockPlan("axial", get_channels("conv1_bn_act", "conv3_bn"), stride)
    dilations = get_dilations(stage, number, output_stride)
    if reader.has(f"{path}/conv3_bn/conv/kernel"):
        channels = get_channels("conv1_bn_act", "conv2_bn_act", "conv3_bn")
        return BlockPlan("bottleneck", channels, stride, (dilations[0], dilations[0]))
    return BlockPlan("basic", get_channels("conv1_bn_act", "conv2_bn"), stride, dilations)


def infer_panoptic(
    reader: VariableReader, encoder: EncoderPlan, aspp_rates: Sequence[int], aspp_pool: tuple[int, int] | None
) -> PanopticPlan:
    """Return the plan of a network with heads; the settings of ASPP are not recorded and are taken as given.

    Raises:
        ValueError: If a variable that decides is missing, or has another number of dimensions.
    """
    has_aspp = reader.has("semantic_decoder/aspp/conv_bn_act/conv/kernel")
    context: Literal["aspp", "projection"] = "aspp" if has_aspp else "projection"
    first, second, third = (
        reader.get_shape(f"{head}/conv_block/conv1_bn_act/pointwise/conv/kernel", 4)[3]
        for head in ("semantic_head", "instance_center_head", "instance_regression_head")
    )
    plan = PanopticPlan(
        encoder,
        context,
        semantic=_infer_decoder(reader, "semantic_decoder"),
        instance=_infer_decoder(reader, "instance_decoder"),
        head_channels=(first, second, third),
    )
    return set_aspp(plan, aspp_rates, aspp_pool)


def set_aspp(plan: PanopticPlan, rates: Sequence[int], pool: tuple[int, int] | None) -> PanopticPlan:
    """Return the plan with these settings of ASPP, if it has ASPP."""
    return replace(plan, aspp_rates=tuple(rates), aspp_pool=pool) if plan.context == "aspp" else plan


def _infer_decoder(reader: VariableReader, path: str) -> DecoderConfig:
    depthwise = f"{path}/fusion_conv1/conv1_bn_act/depthwise/depthwise_conv/depthwise_kernel"
    return DecoderConfig(
        context_channels=reader.get_shape(f"{path}/aspp/proj_conv_bn_act/conv/kernel", 4)[3],
        low_level_channels=(
            reader.get_shape(f"{path}/low_level_conv1/conv/kernel", 4)[3],
            reader.get_shape(f"{path}/low_level_conv2/conv/kernel", 4)[3],
        ),
        channels=reader.get_shape(f"{path}/fusion_conv2/conv1_bn_act/pointwise/conv/kernel", 4)[3],
        kernel_size=reader.get_shape(depthwise, 4)[0],
    )
