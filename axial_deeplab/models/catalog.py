"""Every network by name, with the figures that its source prints."""

import difflib
from collections.abc import Callable

from torch import nn

from axial_deeplab.models import classifiers, segmenters

CLASSIFIERS: dict[str, Callable[..., nn.Module]] = {
    "axial_resnet26_s": classifiers.axial_resnet26_s,
    "axial_resnet50_s": classifiers.axial_resnet50_s,
    "axial_resnet50_m": classifiers.axial_resnet50_m,
    "axial_resnet50_l": classifiers.axial_resnet50_l,
    "axial_resnet50_xl": classifiers.axial_resnet50_xl,
    "axial_resnet50_s_full": classifiers.axial_resnet50_s_full,
    "axial_resnet50_m_full": classifiers.axial_resnet50_m_full,
    "axial_resnet50_l_full": classifiers.axial_resnet50_l_full,
    "axial_resnet50_xl_full": classifiers.axial_resnet50_xl_full,
    "axial_resnet50_s_inception": classifiers.axial_resnet50_s_inception,
    "axial_resnet50_m_inception": classifiers.axial_resnet50_m_inception,
    "axial_resnet50_l_inception": classifiers.axial_resnet50_l_inception,
    "axial_resnet50_xl_inception": classifiers.axial_resnet50_xl_inception,
    "axial_resnet_nano": classifiers.axial_resnet_nano,
    "authors_axial26s": classifiers.authors_axial26s,
    "authors_axial50s": classifiers.authors_axial50s,
    "authors_axial50m": classifiers.authors_axial50m,
    "authors_axial50l": classifiers.authors_axial50l,
    "resnet50": classifiers.resnet50,
    "resnet101": classifiers.resnet101,
    "sasa_resnet50": classifiers.sasa_resnet50,
    "position_sensitive_resnet50": classifiers.position_sensitive_resnet50,
}

SEGMENTERS: dict[str, Callable[..., nn.Module]] = {
    "axial_deeplab_s": segmenters.axial_deeplab_s,
    "axial_deeplab_m": segmenters.axial_deeplab_m,
    "axial_deeplab_l": segmenters.axial_deeplab_l,
    "axial_deeplab_xl": segmenters.axial_deeplab_xl,
    "axial_deeplab_l_span5": segmenters.axial_deeplab_l_span5,
    "axial_deeplab_l_span9": segmenters.axial_deeplab_l_span9,
    "axial_deeplab_l_span17": segmenters.axial_deeplab_l_span17,
    "axial_deeplab_l_span33": segmenters.axial_deeplab_l_span33,
    "axial_deeplab_l_os32": segmenters.axial_deeplab_l_os32,
    "axial_deeplab_nano": segmenters.axial_deeplab_nano,
    "resnet50_deeplab": segmenters.resnet50_deeplab,
    "resnet50_deeplab_aspp": segmenters.resnet50_deeplab_aspp,
    "resnet101_deeplab": segmenters.resnet101_deeplab,
    "sasa_deeplab": segmenters.sasa_deeplab,
    "sasa_deeplab_aspp": segmenters.sasa_deeplab_aspp,
    "position_sensitive_deeplab": segmenters.position_sensitive_deeplab,
    "position_sensitive_deeplab_aspp": segmenters.position_sensitive_deeplab_aspp,
    "deeplab2_axial_deeplab_s": segmenters.deeplab2_axial_deeplab_s,
    "deeplab2_axial_deeplab_l": segmenters.deeplab2_axial_deeplab_l,
    "deeplab2_max_deeplab_s_backbone": segmenters.deeplab2_max_deeplab_s_backbone,
    "deeplab2_max_deeplab_l_backbone": segmenters.deeplab2_max_deeplab_l_backbone,
    "deeplab2_axial_swidernet_1_1_1": segmenters.deeplab2_axial_swidernet_1_1_1,
    "deeplab2_axial_swidernet_1_1_3": segmenters.deeplab2_axial_swidernet_1_1_3,
    "deeplab2_axial_swidernet_1_1_4.5": segmenters.deeplab2_axial_swidernet_1_1_4_5,
    "deeplab2_wide_resnet41": segmenters.deeplab2_wide_resnet41,
    "panoptic_deeplab_resnet50": segmenters.panoptic_deeplab_resnet50,
    "panoptic_deeplab_resnet50_projection": segmenters.panoptic_deeplab_resnet50_projection,
}

MODELS: dict[str, Callable[..., nn.Module]] = {**CLASSIFIERS, **SEGMENTERS}

PUBLISHED: dict[str, dict[str, float]] = {
    "axial_resnet50_s": {"params_m": 12.4, "multiply_adds_g": 2.8, "top1": 77.5},
    "axial_resnet50_s_full": {"params_m": 12.5, "multiply_adds_g": 3.3, "top1": 78.1},
    "authors_axial26s": {"params_m": 5.9, "top1": 75.8},
    "resnet50": {"params_m": 25.6, "multiply_adds_g": 4.1, "top1": 76.9},
    "sasa_resnet50": {"params_m": 18.0, "multiply_adds_g": 3.5, "top1": 77.7},
    "position_sensitive_resnet50": {"params_m": 18.0, "multiply_adds_g": 3.7, "top1": 78.1},
    "axial_deeplab_s": {"params_m": 12.1, "multiply_adds_g": 110.4, "pq_coco": 41.8, "pq_cityscapes": 62.6},
    "axial_deeplab_m": {"params_m": 25.9, "multiply_adds_g": 209.9, "pq_coco": 42.9, "pq_cityscapes": 63.1},
    "axial_deeplab_l": {"params_m": 44.9, "multiply_adds_g": 343.9, "pq_coco": 43.4, "pq_cityscapes": 63.9},
    "axial_deeplab_xl": {"params_m": 173.0, "pq_cityscapes": 64.4},
    "resnet50_deeplab": {"params_m": 24.8, "pq_cityscapes": 58.1},
    "resnet50_deeplab_aspp": {"params_m": 30.0, "pq_cityscapes": 59.8},
    "resnet101_deeplab": {"params_m": 43.8, "pq_cityscapes": 59.9},
    "sasa_deeplab": {"params_m": 17.3, "pq_cityscapes": 58.7},
    "sasa_deeplab_aspp": {"params_m": 22.5, "pq_cityscapes": 60.9},
    "position_sensitive_deeplab": {"params_m": 17.3, "pq_cityscapes": 59.9},
    "position_sensitive_deeplab_aspp": {"params_m": 22.5, "pq_cityscapes": 61.5},
    "deeplab2_max_deeplab_s_backbone": {"pq_cityscapes": 64.5},
    "deeplab2_max_deeplab_l_backbone": {"pq_cityscapes": 66.3},
    "deeplab2_axial_swidernet_1_1_1": {"pq_cityscapes": 66.1},
    "deeplab2_axial_swidernet_1_1_3": {"pq_cityscapes": 67.1},
    "deeplab2_axial_swidernet_1_1_4.5": {"pq_cityscapes": 68.0},
    "deeplab2_wide_resnet41": {"pq_cityscapes": 64.4},
    "panoptic_deeplab_resnet50": {"pq_coco": 35.1},
}
"""Parameters in millions, multiply-adds in billions at `get_default_size`, scores in percent on the validation sets."""


def get_default_classes(name: str) -> int:
    """Return the number of classes that published figures refer to: ImageNet's or Cityscapes'."""
    return 1000 if name in CLASSIFIERS else 19


def get_default_size(name: str) -> int:
    """Return the side of the square input that published costs refer to, in pixels."""
    return 224 if name in CLASSIFIERS else 1025


def build_model(name: str, num_classes: int | None = None) -> nn.Module:
    """Build a network with random weights, in training mode.

    Args:
        name: A key of `MODELS`.
        num_classes: Outputs of the classifier or of the semantic head; `None` takes the published form's.

    Raises:
        ValueError: If there is no such name; the message suggests the nearest.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(MODELS)}"
        raise ValueError(f"unknown model {name!r}: {hint}")
    return MODELS[name](get_default_classes(name) if num_classes is None else num_classes)
