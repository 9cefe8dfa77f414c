"""Builders of the panoptic models: the paper's Axial-DeepLab, deeplab2's form of it, and the convolutional baselines.

Each takes the number of classes and returns a `PanopticDeepLab` with random weights.
"""

from dataclasses import replace

from axial_deeplab.layers.aspp import ASPP
from axial_deeplab.layers.convolution import ConvNormAct
from axial_deeplab.models.axial_deeplab import PanopticDeepLab
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialResNetConfig, build_axial_resnet
from axial_deeplab.models.decoder import DecoderConfig
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


def panoptic_deeplab_resnet50(num_classes: int = 19) -> PanopticDeepLab:
    """Build Panoptic-DeepLab with ResNet-50 and ASPP, as in deeplab2."""
    return PanopticDeepLab(build_resnet(output_stride=16, max_pool=False), num_classes, ASPP)


def panoptic_deeplab_resnet50_projection(num_classes: int = 19) -> PanopticDeepLab:
    """Build Panoptic-DeepLab with ResNet-50 and a 1x1 projection in place of ASPP."""
    return PanopticDeepLab(build_resnet(output_stride=16, max_pool=False), num_classes, ConvNormAct)
