"""Builders of the panoptic models: the paper's Axial-DeepLab and baselines, and deeplab2's form of both.

Each takes the number of classes and returns a `PanopticDeepLab` with random weights.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from axial_deeplab.layers.aspp import ASPP
from axial_deeplab.layers.convolution import ConvNormAct
from axial_deeplab.models.axial_deeplab import PanopticDeepLab
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialResNetConfig, build_axial_resnet
from axial_deeplab.models.decoder import INSTANCE_DECODER, SEMANTIC_DECODER, DecoderConfig
from axial_deeplab.models.encoder import Encoder
from axial_deeplab.models.local_resnet import build_local_resnet
from axial_deeplab.models.planned import PLANS, build_panoptic
from axial_deeplab.models.resnet import build_resnet

PAPER = AxialResNetConfig(stem="inception", output_stride=16, attention=AttentionConfig(span=65))
"""Three-convolution stem scaled by width, max-pool, span 65, output stride 16 (paper, section 3.3)."""

DEEPLAB2 = AxialResNetConfig(stem="inception", stem_width=1.0, max_pool=False, output_stride=16)
"""google-research/deeplab2: stem not scaled, no max-pool, global span."""

NANO = replace(PAPER, width=0.25, stem_width=0.5, blocks=(1, 1, 2, 1), attention=AttentionConfig(span=65, num_heads=4))
"""Small enough to learn procedural scenes on a CPU in minutes; attention in all four stages."""


def axial_deeplab_s(num_classes: int = 19) -> PanopticDeepLab:
    """Build Axial-DeepLab-S."""
    return PanopticDeepLab(build_axial_resnet(replace(PAPER, width=0.5)), num_classes)


def axial_deeplab_m(num_classes: int = 19) -> PanopticDeepLab:
    """Build Axial-DeepLab-M."""
    return PanopticDeepLab(build_axial_resnet(replace(PAPER, width=0.75)), num_classes)


def axial_deeplab_l(num_classes: int = 19) -> PanopticDeepLab:
    """Build Axial-DeepLab-L."""
    return PanopticDeepLab(build_axial_resnet(replace(PAPER, width=1.0)), num_classes)


def axial_deeplab_xl(num_classes: int = 19) -> PanopticDeepLab:
    """Build Axial-DeepLab-XL."""
    return PanopticDeepLab(build_axial_resnet(replace(PAPER, width=2.0)), num_classes)


def axial_deeplab_nano(num_classes: int = 19) -> PanopticDeepLab:
    """Build a small Axial-DeepLab for tests and demonstrations; not in the paper."""
    decoder = DecoderConfig(context_channels=64, low_level_channels=(32, 16), channels=64)
    return PanopticDeepLab(
        build_axial_resnet(NANO), num_classes, semantic=decoder, instance=decoder, head_channels=(64, 32, 32)
    )


def deeplab2_axial_deeplab_s(num_classes: int = 19) -> PanopticDeepLab:
    """Build deeplab2's axial_deeplab_s."""
    return PanopticDeepLab(build_axial_resnet(replace(DEEPLAB2, width=0.5)), num_classes)


def deeplab2_axial_deeplab_l(num_classes: int = 19) -> PanopticDeepLab:
    """Build deeplab2's axial_deeplab_l."""
    return PanopticDeepLab(build_axial_resnet(replace(DEEPLAB2, width=1.0)), num_classes)


def deeplab2_max_deeplab_s_backbone(num_classes: int = 19) -> PanopticDeepLab:
    """Build deeplab2's ResNet-50-beta with axial blocks from stride 16 on (MaX-DeepLab-S without its transformer)."""
    return build_panoptic(PLANS["deeplab2_max_deeplab_s_backbone"], num_classes)


def deeplab2_max_deeplab_l_backbone(num_classes: int = 19) -> PanopticDeepLab:
    """Build deeplab2's MaX-DeepLab-L backbone, without the stacked decoder, which reaches no output."""
    return build_panoptic(PLANS["deeplab2_max_deeplab_l_backbone"], num_classes)


def deeplab2_axial_swidernet_1_1_1(num_classes: int = 19) -> PanopticDeepLab:
    """Build deeplab2's Axial-SWideRNet-(1, 1, 1): Wide-ResNet-41 with axial blocks from stride 16 on."""
    return build_panoptic(PLANS["deeplab2_axial_swidernet_1_1_1"], num_classes)


def deeplab2_axial_swidernet_1_1_3(num_classes: int = 19) -> PanopticDeepLab:
    """Build the same with three times as many blocks."""
    return build_panoptic(PLANS["deeplab2_axial_swidernet_1_1_3"], num_classes)


def deeplab2_axial_swidernet_1_1_4_5(num_classes: int = 19) -> PanopticDeepLab:
    """Build the same with four and a half times as many blocks."""
    return build_panoptic(PLANS["deeplab2_axial_swidernet_1_1_4.5"], num_classes)


def deeplab2_wide_resnet41(num_classes: int = 19) -> PanopticDeepLab:
    """Build deeplab2's Panoptic-DeepLab with Wide-ResNet-41 and ASPP."""
    return build_panoptic(PLANS["deeplab2_wide_resnet41"], num_classes)


def panoptic_deeplab_resnet50(num_classes: int = 19) -> PanopticDeepLab:
    """Build Panoptic-DeepLab with ResNet-50 and ASPP, as in deeplab2."""
    return PanopticDeepLab(build_resnet(output_stride=16, max_pool=False), num_classes, ASPP)


def panoptic_deeplab_resnet50_projection(num_classes: int = 19) -> PanopticDeepLab:
    """Build Panoptic-DeepLab with ResNet-50 and a 1x1 projection in place of ASPP."""
    return PanopticDeepLab(build_resnet(output_stride=16, max_pool=False), num_classes, ConvNormAct)


def axial_deeplab_l_span5(num_classes: int = 19) -> PanopticDeepLab:
    """Build Axial-DeepLab-L with span 5 (paper, table 7)."""
    return _build_l_with_span(5, num_classes)


def axial_deeplab_l_span9(num_classes: int = 19) -> PanopticDeepLab:
    """Build Axial-DeepLab-L with span 9 (paper, table 7)."""
    return _build_l_with_span(9, num_classes)


def axial_deeplab_l_span17(num_classes: int = 19) -> PanopticDeepLab:
    """Build Axial-DeepLab-L with span 17 (paper, table 7)."""
    return _build_l_with_span(17, num_classes)


def axial_deeplab_l_span33(num_classes: int = 19) -> PanopticDeepLab:
    """Build Axial-DeepLab-L with span 33 (paper, table 7)."""
    return _build_l_with_span(33, num_classes)


def axial_deeplab_l_os32(num_classes: int = 19) -> PanopticDeepLab:
    """Build Axial-DeepLab-L at output stride 32."""
    return PanopticDeepLab(build_axial_resnet(replace(PAPER, output_stride=32)), num_classes)


def resnet50_deeplab(num_classes: int = 19) -> PanopticDeepLab:
    """Build the paper's ResNet-50 without ASPP (table 6)."""
    return _build_baseline(build_resnet(output_stride=16, stem="inception"), num_classes)


def resnet50_deeplab_aspp(num_classes: int = 19) -> PanopticDeepLab:
    """Build the paper's ResNet-50 with ASPP (table 6)."""
    return PanopticDeepLab(build_resnet(output_stride=16, stem="inception"), num_classes, build_separable_aspp)


def resnet101_deeplab(num_classes: int = 19) -> PanopticDeepLab:
    """Build the paper's ResNet-101 without ASPP (table 7)."""
    return _build_baseline(build_resnet((3, 4, 23, 3), output_stride=16, stem="inception"), num_classes)


def sasa_deeplab(num_classes: int = 19) -> PanopticDeepLab:
    """Build the paper's stand-alone self-attention in 7x7 windows without ASPP (table 6)."""
    return _build_baseline(_build_local_encoder(position_sensitive=False), num_classes)


def sasa_deeplab_aspp(num_classes: int = 19) -> PanopticDeepLab:
    """Build the same with ASPP (table 6)."""
    return PanopticDeepLab(_build_local_encoder(position_sensitive=False), num_classes, build_separable_aspp)


def position_sensitive_deeplab(num_classes: int = 19) -> PanopticDeepLab:
    """Build the paper's position-sensitive attention in 7x7 windows without ASPP (table 6)."""
    return _build_baseline(_build_local_encoder(position_sensitive=True), num_classes)


def position_sensitive_deeplab_aspp(num_classes: int = 19) -> PanopticDeepLab:
    """Build the same with ASPP (table 6)."""
    return PanopticDeepLab(_build_local_encoder(position_sensitive=True), num_classes, build_separable_aspp)


def build_separable_aspp(in_channels: int, out_channels: int, rates: Sequence[int] = (6, 12, 18)) -> ASPP:
    """Build ASPP with depthwise separable convolutions: a dilated 3x3 for each channel, then 1x1.

    Source: the counts of table 6, which dense convolutions exceed by 25 million parameters.
    """
    aspp = ASPP(in_channels, out_channels, ())
    aspp.atrous.extend(
        nn.Sequential(
            ConvNormAct(in_channels, in_channels, 3, dilation=rate, groups=in_channels),
            ConvNormAct(in_channels, out_channels),
        )
        for rate in rates
    )
    aspp.project = ConvNormAct(out_channels * (2 + len(rates)), out_channels)
    return aspp


def _build_l_with_span(span: int, num_classes: int) -> PanopticDeepLab:
    return PanopticDeepLab(build_axial_resnet(replace(PAPER, attention=AttentionConfig(span=span))), num_classes)


def _build_local_encoder(*, position_sensitive: bool) -> Encoder:
    return build_local_resnet(position_sensitive=position_sensitive, output_stride=16, stem="inception")


def _build_baseline(encoder: Encoder, num_classes: int) -> PanopticDeepLab:
    """Build decoders on the encoder's deepest map as it is: the counts of table 6 leave no room for a projection."""
    deepest = encoder.channels[max(encoder.channels)]
    semantic, instance = (replace(config, context_channels=deepest) for config in (SEMANTIC_DECODER, INSTANCE_DECODER))
    return PanopticDeepLab(encoder, num_classes, _build_nothing, semantic=semantic, instance=instance)


def _build_nothing(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Identity()
