"""Weights of google-research/deeplab2: panoptic models and encoders, from TensorFlow's variables by name.

The network is rebuilt from the names and shapes alone: which blocks attend and which convolve, all channels, the context
module. Every variable must be used exactly once; what is left over is an error that names it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from axial_deeplab.checkpoints.deeplab2_plan import infer_encoder, infer_panoptic, set_aspp
from axial_deeplab.checkpoints.deeplab2_variables import VariableReader, canonicalize_all
from axial_deeplab.layers.aspp import ASPP
from axial_deeplab.layers.convolution import ConvNorm
from axial_deeplab.models.axial_deeplab import PanopticDeepLab
from axial_deeplab.models.axial_resnet import AxialBlock
from axial_deeplab.models.decoder import Decoder
from axial_deeplab.models.encoder import Encoder
from axial_deeplab.models.heads import Head
from axial_deeplab.models.hybrid_resnet import build_planned_encoder
from axial_deeplab.models.planned import PanopticPlan, build_panoptic, complete_plan
from axial_deeplab.models.resnet import BasicBlock, BottleneckBlock


class RecognizedNetwork(NamedTuple):
    """A network with its weights, in eval mode, and what it was built from."""

    model: nn.Module
    plan: PanopticPlan
    has_heads: bool  # whether the variables had decoders and heads


def from_deeplab2(
    variables: Mapping[str, Any],
    *,
    num_classes: int | None = None,
    output_stride: int = 16,
    aspp_rates: Sequence[int] = (6, 12, 18),
    aspp_pool: tuple[int, int] | None = None,
) -> nn.Module:
    """Build the deeplab2 network that these variables belong to, and load them.

    Args:
        variables: Names to arrays, as TensorFlow shapes them; Keras names, keys of an object-based checkpoint (optimizer slots
            and counters are passed over), or those of an ImageNet checkpoint (`encoder/` or `backbone/_encoder/`).
        num_classes: Needed only where there are no heads: these are then built for so many classes, with random weights;
            without it an encoder alone is returned as such.
        output_stride: Stride of the deepest feature; not recorded in the variables.
        aspp_rates: Dilations of ASPP at this output stride, where the network has ASPP; not recorded either.
        aspp_pool: Window of ASPP's average in positions; `None` averages the whole map.

    Returns:
        A module in eval mode from images [batch, 3, height, width], normalised by x / 127.5 - 1, to `PanopticOutput` at the
        size of the input.

    Raises:
        ValueError: If a variable is missing, left over, or does not fit.
    """
    return recognize_deeplab2(
        variables, num_classes=num_classes, output_stride=output_stride, aspp_rates=aspp_rates, aspp_pool=aspp_pool
    ).model


def recognize_deeplab2(
    variables: Mapping[str, Any],
    *,
    num_classes: int | None = None,
    output_stride: int = 16,
    aspp_rates: Sequence[int] = (6, 12, 18),
    aspp_pool: tuple[int, int] | None = None,
) -> RecognizedNetwork:
    """Do what `from_deeplab2` does, and return the plan of the network too."""
    named = canonicalize_all(variables)
    reader = VariableReader(named)
    encoder = infer_encoder(reader, output_stride)
    has_heads = any(name.startswith("semantic_decoder/") for name in named)
    if has_heads:
        plan = infer_panoptic(reader, encoder, aspp_rates, aspp_pool)
    else:
        plan = set_aspp(complete_plan(encoder), aspp_rates, aspp_pool)
    model: nn.Module
    if has_heads:
        found = reader.get_shape("semantic_head/final_conv/kernel", 4)[3]
        if num_classes not in (None, found):
            raise ValueError(f"the variables hold a head for {found} classes, not {num_classes}")
        model = panoptic = build_panoptic(plan, found)
        names = name_panoptic(panoptic)
    elif num_classes is not None:
        model = panoptic = build_panoptic(plan, num_classes)
        names = name_encoder(panoptic.encoder)
    else:
        model = built = build_planned_encoder(encoder)
        names = name_encoder(built)
    for path, module in names:
        reader.fill(path, module)
    reader.check_all_used()
    return RecognizedNetwork(model.eval(), plan, has_heads)


def name_encoder(encoder: Encoder) -> Iterator[tuple[str, nn.Module]]:
    """Yield deeplab2's path of every module with variables, beside the module."""
    assert isinstance(encoder.stem, nn.Sequential)
    convs = [module for module in encoder.stem if isinstance(module, ConvNorm)]
    paths = ["conv1_bn_act", "conv2_bn_act", "conv3_bn"]
    if len(convs) == 1:
        yield "encoder/stem", convs[0]
    else:
        yield from zip([f"encoder/stem/{path}" for path in paths], convs, strict=True)
    groups = [(1, module) for module in encoder.stem if isinstance(module, nn.Sequential)]
    for stage, blocks in [*groups, *enumerate(encoder.stages, start=2)]:
        assert isinstance(blocks, nn.Sequential)
        for number, block in enumerate(blocks, start=1):
            yield from name_block(f"encoder/stage{stage}/block{number}", block)


def name_block(path: str, block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield deeplab2's path of every module of a residual block with variables, beside the module."""
    assert isinstance(block, AxialBlock | BottleneckBlock | BasicBlock)
    if isinstance(block, BasicBlock):
        yield f"{path}/conv1_bn_act", block.conv
        yield f"{path}/conv2_bn", block.up
    else:
        yield f"{path}/conv1_bn_act", block.down
        if isinstance(block, AxialBlock):
            yield f"{path}/attention/height_axis", block.height_attention
            yield f"{path}/attention/width_axis", block.width_attention
        else:
            yield f"{path}/conv2_bn_act", block.conv
        yield f"{path}/conv3_bn", block.up
    if block.shortcut.projection is not None:
        yield f"{path}/shortcut", block.shortcut.projection


def name_panoptic(model: PanopticDeepLab) -> Iterator[tuple[str, nn.Module]]:
    """Yield deeplab2's path of every module of a panoptic model with variables, beside the module."""
    yield from name_encoder(model.encoder)
    yield from name_decoder("semantic_decoder", model.semantic_decoder)
    yield from name_decoder("instance_decoder", model.instance_decoder)
    yield from name_head("semantic_head", model.semantic_head)
    yield from name_head("instance_center_head", model.center_head)
    yield from name_head("instance_regression_head", model.offset_head)


def name_decoder(path: str, decoder: Decoder) -> Iterator[tuple[str, nn.Module]]:
    """Yield deeplab2's path of every module of a decoder with variables, beside the module."""
    context = decoder.context
    if isinstance(context, ASPP):
        yield from name_aspp(f"{path}/aspp", context)
    else:
        yield f"{path}/aspp/proj_conv_bn_act", context
    yield f"{path}/low_level_conv1", decoder.project8
    yield f"{path}/fusion_conv1/conv1_bn_act", decoder.fuse8
    yield f"{path}/low_level_conv2", decoder.project4
    yield f"{path}/fusion_conv2/conv1_bn_act", decoder.fuse4


def name_aspp(path: str, aspp: ASPP) -> Iterator[tuple[str, nn.Module]]:
    """Yield deeplab2's path of every module of ASPP with variables, beside the module."""
    yield f"{path}/conv_bn_act", aspp.project_pixel
    for number, conv in enumerate(aspp.atrous, start=1):
        yield f"{path}/aspp_conv{number}/conv_bn_act", conv
    yield f"{path}/aspp_pool/conv_bn_act", aspp.project_average
    yield f"{path}/proj_conv_bn_act", aspp.project


def name_head(path: str, head: Head) -> Iterator[tuple[str, nn.Module]]:
    """Yield deeplab2's path of every module of a head with variables, beside the module."""
    yield f"{path}/conv_block/conv1_bn_act", head.conv
    yield f"{path}/final_conv", head.predict
