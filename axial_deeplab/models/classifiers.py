"""Builders of the image classifiers: the paper's own form, the authors' PyTorch form, and the baselines.

Each takes the number of classes; with `features_only=True` it returns the encoder alone, which maps images
[batch, 3, height, width] of any size to features keyed by output stride (4, 8, 16, 32).
"""

from dataclasses import replace

from torch import nn

from axial_deeplab.layers.normalization import configure_norms
from axial_deeplab.models.axial_resnet import AttentionConfig, AxialResNetConfig, build_axial_resnet
from axial_deeplab.models.classifier import Classifier
from axial_deeplab.models.encoder import Encoder
from axial_deeplab.models.local_resnet import build_local_resnet
from axial_deeplab.models.resnet import build_resnet

PAPER = AxialResNetConfig()
"""Convolutional stem, global span, tables of 509 rows, striding per axis (paper, table 1)."""

PAPER_FULL = AxialResNetConfig(stem="axial", max_pool=False, attention=AttentionConfig(span=15))
"""No convolution with a spatial extent: three axial blocks as stem, span 15 in all blocks (paper, section 4.1)."""

PAPER_SEGMENTATION = AxialResNetConfig(stem="inception", attention=AttentionConfig(span=65))
"""The trunk of Axial-DeepLab at output stride 32: three-convolution stem, max-pool, span 65 (paper, section 3.3)."""

AUTHORS = AxialResNetConfig(attention=AttentionConfig(striding="average_pool"), tight_tables=(56, 56, 28, 14))
"""csrhddlam/axial-deeplab: tables that just fit 224 pixels, average pooling after both layers, PyTorch's norm constants."""


def axial_resnet_nano(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build the trunk of `axial_deeplab_nano` for tests and demonstrations; not in the paper."""
    attention = AttentionConfig(span=65, num_heads=4)
    config = replace(PAPER_SEGMENTATION, width=0.25, stem_width=0.5, blocks=(1, 1, 2, 1), attention=attention)
    return _finish(build_axial_resnet(config), num_classes, features_only)


def axial_resnet26_s(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build Axial-ResNet-26-S with a convolutional stem: one, two, four and one blocks."""
    return _finish(build_axial_resnet(replace(PAPER, width=0.5, blocks=(1, 2, 4, 1))), num_classes, features_only)


def axial_resnet50_s(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build Axial-ResNet-S with a convolutional stem."""
    return _finish(build_axial_resnet(replace(PAPER, width=0.5)), num_classes, features_only)


def axial_resnet50_m(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build Axial-ResNet-M with a convolutional stem."""
    return _finish(build_axial_resnet(replace(PAPER, width=0.75)), num_classes, features_only)


def axial_resnet50_l(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build Axial-ResNet-L with a convolutional stem."""
    return _finish(build_axial_resnet(replace(PAPER, width=1.0)), num_classes, features_only)


def axial_resnet50_xl(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build Axial-ResNet-XL with a convolutional stem."""
    return _finish(build_axial_resnet(replace(PAPER, width=2.0)), num_classes, features_only)


def axial_resnet50_s_full(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build full Axial-ResNet-S: axial stem, span 15."""
    return _finish(build_axial_resnet(replace(PAPER_FULL, width=0.5)), num_classes, features_only)


def axial_resnet50_m_full(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build full Axial-ResNet-M: axial stem, span 15."""
    return _finish(build_axial_resnet(replace(PAPER_FULL, width=0.75)), num_classes, features_only)


def axial_resnet50_l_full(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build full Axial-ResNet-L: axial stem, span 15."""
    return _finish(build_axial_resnet(replace(PAPER_FULL, width=1.0)), num_classes, features_only)


def axial_resnet50_xl_full(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build full Axial-ResNet-XL: axial stem, span 15."""
    return _finish(build_axial_resnet(replace(PAPER_FULL, width=2.0)), num_classes, features_only)


def axial_resnet50_s_inception(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build Axial-ResNet-S with the stem and the span of `axial_deeplab_s`, which can start from its weights."""
    return _finish(build_axial_resnet(replace(PAPER_SEGMENTATION, width=0.5)), num_classes, features_only)


def axial_resnet50_m_inception(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build Axial-ResNet-M with the stem and the span of `axial_deeplab_m`, which can start from its weights."""
    return _finish(build_axial_resnet(replace(PAPER_SEGMENTATION, width=0.75)), num_classes, features_only)


def axial_resnet50_l_inception(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build Axial-ResNet-L with the stem and the span of `axial_deeplab_l`, which can start from its weights."""
    return _finish(build_axial_resnet(replace(PAPER_SEGMENTATION, width=1.0)), num_classes, features_only)


def axial_resnet50_xl_inception(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build Axial-ResNet-XL with the stem and the span of `axial_deeplab_xl`, which can start from its weights."""
    return _finish(build_axial_resnet(replace(PAPER_SEGMENTATION, width=2.0)), num_classes, features_only)


def authors_axial26s(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build the authors' Axial-ResNet-26-S."""
    return _use_pytorch_norms(
        _finish(build_axial_resnet(replace(AUTHORS, width=0.5, blocks=(1, 2, 4, 1))), num_classes, features_only)
    )


def authors_axial50s(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build the authors' Axial-ResNet-S."""
    return _use_pytorch_norms(_finish(build_axial_resnet(replace(AUTHORS, width=0.5)), num_classes, features_only))


def authors_axial50m(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build the authors' Axial-ResNet-M."""
    return _use_pytorch_norms(_finish(build_axial_resnet(replace(AUTHORS, width=0.75)), num_classes, features_only))


def authors_axial50l(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build the authors' Axial-ResNet-L."""
    return _use_pytorch_norms(_finish(build_axial_resnet(replace(AUTHORS, width=1.0)), num_classes, features_only))


def resnet50(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build ResNet-50 with the stride in the 3x3 convolution."""
    return _use_pytorch_norms(_finish(build_resnet(), num_classes, features_only))


def resnet101(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build ResNet-101 with the stride in the 3x3 convolution."""
    return _use_pytorch_norms(_finish(build_resnet((3, 4, 23, 3)), num_classes, features_only))


def sasa_resnet50(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build ResNet-50 with stand-alone self-attention in 7x7 windows and a convolutional stem; batch norm in the attention."""
    return _finish(build_local_resnet(position_sensitive=False), num_classes, features_only)


def position_sensitive_resnet50(num_classes: int = 1000, *, features_only: bool = False) -> nn.Module:
    """Build the same with relative positions in key and value too."""
    return _finish(build_local_resnet(position_sensitive=True), num_classes, features_only)


def _finish(encoder: Encoder, num_classes: int, features_only: bool) -> nn.Module:
    return encoder if features_only else Classifier(encoder, num_classes)


def _use_pytorch_norms(model: nn.Module) -> nn.Module:
    configure_norms(model, eps=1e-5, momentum=0.1, correction=1)
    return model
