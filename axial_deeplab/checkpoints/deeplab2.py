"""Weights of google-research/deeplab2: panoptic models and encoders, from TensorFlow's variables by name.

The network is rebuilt from the names and shapes alone: which blocks attend and which convolve, all channels, the context
module. Every variable must be used exactly once; what is left over is an error that names it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from axial_deeplab.checkpoints.deeplab2_variables import VariableReader, canonicalize_all
from axial_deeplab.layers.aspp import ASPP
from axial_deeplab.layers.convolution import ConvNorm, ConvNormAct
from axial_deeplab.models.axial_deeplab import PanopticDeepLab
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialBlock
from axial_deeplab.models.decoder import Decoder, DecoderConfig
from axial_deeplab.models.encoder import Encoder, build_conv_stem, build_inception_stem
from axial_deeplab.models.heads import Head
from axial_deeplab.models.resnet import BottleneckBlock


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
    named = canonicalize_all(variables)
    reader = VariableReader(named)
    encoder = _build_encoder(reader, output_stride)
    model: nn.Module = encoder
    names = name_encoder(encoder)
    if any(name.startswith("semantic_decoder/") for name in named):
        found = reader.get_shape("semantic_head/final_conv/kernel")[3]
        if num_classes not in (None, found):
            raise ValueError(f"the variables hold a head for {found} classes, not {num_classes}")
        model = panoptic = _build_panoptic(reader, encoder, partial(_build_aspp, aspp_rates, aspp_pool))
        names = name_panoptic(panoptic)
    elif num_classes is not None:
        model = PanopticDeepLab(encoder, num_classes)
    for path, module in names:
        reader.fill(path, module)
    reader.check_all_used()
    return model.eval()


def _build_encoder(reader: VariableReader, output_stride: int) -> Encoder:
    if reader.has("encoder/stem/conv/kernel"):
        in_channels = reader.get_shape("encoder/stem/conv/kernel")[3]
        stem = build_conv_stem(in_channels, max_pool=False)
    else:
        first, second, in_channels = (
            reader.get_shape(f"encoder/stem/{name}/conv/kernel")[3]
            for name in ("conv1_bn_act", "conv2_bn_act", "conv3_bn")
        )
        stem = build_inception_stem((first, second, in_channels), max_pool=False)
    stages, strides, channels, stride = [], [], [], 2
    for stage in (2, 3, 4, 5):
        step = 2 if stride < output_stride else 1
        num_blocks = reader.count(rf"encoder/stage{stage}/block(\d+)/")
        blocks = []
        for block in range(1, num_blocks + 1):
            path = f"encoder/stage{stage}/block{block}"
            dilation = max(1, 2 ** (stage - (block == 1)) // output_stride)
            blocks.append(_build_block(reader, path, in_channels, step if block == 1 else 1, dilation))
            in_channels = reader.get_shape(f"{path}/conv3_bn/conv/kernel")[3]
        stride *= step
        stages.append(nn.Sequential(*blocks))
        strides.append(stride)
        channels.append(in_channels)
    return Encoder(stem, stages, strides=strides, channels=channels)


def _build_block(reader: VariableReader, path: str, in_channels: int, stride: int, dilation: int) -> nn.Module:
    inner = reader.get_shape(f"{path}/conv1_bn_act/conv/kernel")[3]
    out_channels = reader.get_shape(f"{path}/conv3_bn/conv/kernel")[3]
    similarity = f"{path}/attention/height_axis/batch_norm_similarity/gamma"
    if not reader.has(similarity):
        return BottleneckBlock(in_channels, inner, out_channels, stride=stride, dilation=dilation)
    rows = reader.get_shape(f"{path}/attention/height_axis/query_rpe/embeddings")[0]
    attention = AttentionConfig(num_heads=reader.get_shape(similarity)[2], max_distance=(rows - 1) // 2)
    return AxialBlock(in_channels, inner, out_channels, stride=stride, attention=attention)


def _build_aspp(rates: Sequence[int], pool: tuple[int, int] | None, in_channels: int, out_channels: int) -> nn.Module:
    return ASPP(in_channels, out_channels, rates, pool=pool)


def _build_panoptic(
    reader: VariableReader, encoder: Encoder, build_aspp: Callable[[int, int], nn.Module]
) -> PanopticDeepLab:
    has_aspp = reader.has("semantic_decoder/aspp/conv_bn_act/conv/kernel")
    heads = ("semantic_head", "instance_center_head", "instance_regression_head")
    first, second, third = (
        reader.get_shape(f"{head}/conv_block/conv1_bn_act/pointwise/conv/kernel")[3] for head in heads
    )
    return PanopticDeepLab(
        encoder,
        reader.get_shape("semantic_head/final_conv/kernel")[3],
        build_aspp if has_aspp else ConvNormAct,
        semantic=_infer_decoder(reader, "semantic_decoder"),
        instance=_infer_decoder(reader, "instance_decoder"),
        head_channels=(first, second, third),
    )


def _infer_decoder(reader: VariableReader, path: str) -> DecoderConfig:
    return DecoderConfig(
        context_channels=reader.get_shape(f"{path}/aspp/proj_conv_bn_act/conv/kernel")[3],
        low_level_channels=(
            reader.get_shape(f"{path}/low_level_conv1/conv/kernel")[3],
            reader.get_shape(f"{path}/low_level_conv2/conv/kernel")[3],
        ),
        channels=reader.get_shape(f"{path}/fusion_conv2/conv1_bn_act/pointwise/conv/kernel")[3],
        kernel_size=reader.get_shape(f"{path}/fusion_conv1/conv1_bn_act/depthwise/depthwise_conv/depthwise_kernel")[0],
    )


def name_encoder(encoder: Encoder) -> Iterator[tuple[str, nn.Module]]:
    """Yield deeplab2's path of every module with variables, beside the module."""
    convs = [module for module in encoder.stem.modules() if isinstance(module, ConvNorm)]
    paths = ["conv1_bn_act", "conv2_bn_act", "conv3_bn"]
    if len(convs) == 1:
        yield "encoder/stem", convs[0]
    else:
        yield from zip([f"encoder/stem/{path}" for path in paths], convs, strict=True)
    for stage, blocks in enumerate(encoder.stages, start=2):
        assert isinstance(blocks, nn.Sequential)
        for number, block in enumerate(blocks, start=1):
            yield from name_block(f"encoder/stage{stage}/block{number}", block)


def name_block(path: str, block: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield deeplab2's path of every module of a residual block with variables, beside the module."""
    assert isinstance(block, AxialBlock | BottleneckBlock)
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
