"""Networks from a description that JSON can hold: what an imported checkpoint with no name of its own is rebuilt from.

`PLANS` describes deeplab2's networks that have a name here, and `find_plan` gives a described network its name back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from axial_deeplab.layers.aspp import ASPP
from axial_deeplab.layers.convolution import ConvNormAct
from axial_deeplab.layers.normalization import configure_norms
from axial_deeplab.models.axial_deeplab import PanopticDeepLab
from axial_deeplab.models.axial_resnet import AxialResNetConfig, build_axial_resnet
from axial_deeplab.models.classifier import Classifier
from axial_deeplab.models.classifiers import AUTHORS
from axial_deeplab.models.decoder import INSTANCE_DECODER, SEMANTIC_DECODER, DecoderConfig
from axial_deeplab.models.hybrid_resnet import (
    EncoderPlan,
    build_planned_encoder,
    plan_bottleneck_encoder,
    plan_wide_encoder,
    set_drop_path,
)


@dataclass(frozen=True)
class PanopticPlan:
    """One panoptic network of deeplab2.

    Attributes:
        encoder: Its trunk.
        context: What is on the deepest map: a 1x1 projection, or ASPP.
        aspp_rates: Dilations of ASPP.
        aspp_pool: Window of ASPP's average in positions; `None` averages the whole map.
        semantic: Channels of the semantic decoder.
        instance: Channels of the instance decoder.
        head_channels: Channels inside the semantic, center and offset head.
    """

    encoder: EncoderPlan
    context: Literal["projection", "aspp"] = "projection"
    aspp_rates: tuple[int, ...] = (6, 12, 18)
    aspp_pool: tuple[int, int] | None = None
    semantic: DecoderConfig = SEMANTIC_DECODER
    instance: DecoderConfig = INSTANCE_DECODER
    head_channels: tuple[int, int, int] = (256, 32, 32)


PLANS: dict[str, PanopticPlan] = {
    "deeplab2_axial_deeplab_s": PanopticPlan(plan_bottleneck_encoder(0.5, axial_beyond=2)),
    "deeplab2_axial_deeplab_l": PanopticPlan(plan_bottleneck_encoder(axial_beyond=2)),
    "deeplab2_max_deeplab_s_backbone": PanopticPlan(plan_bottleneck_encoder(axial_beyond=16, drop_path=0.2)),
    "deeplab2_axial_swidernet_1_1_1": PanopticPlan(plan_wide_encoder()),
    "deeplab2_axial_swidernet_1_1_3": PanopticPlan(plan_wide_encoder(3)),
    "deeplab2_axial_swidernet_1_1_4.5": PanopticPlan(plan_wide_encoder(4.5)),
    "deeplab2_max_deeplab_l_backbone": PanopticPlan(plan_wide_encoder()),
    "deeplab2_wide_resnet41": PanopticPlan(plan_wide_encoder(axial_beyond=0), "aspp"),
    "panoptic_deeplab_resnet50": PanopticPlan(plan_bottleneck_encoder(stem="conv"), "aspp"),
    "panoptic_deeplab_resnet50_projection": PanopticPlan(plan_bottleneck_encoder(stem="conv")),
}
"""MaX-DeepLab-L's trunk is that of Axial-SWideRNet-(1,1,1): its stacked decoder reaches no output and is left out."""


AUTHORS_PLANS: dict[str, AxialResNetConfig] = {
    "authors_axial26s": replace(AUTHORS, width=0.5, blocks=(1, 2, 4, 1)),
    "authors_axial50s": replace(AUTHORS, width=0.5),
    "authors_axial50m": replace(AUTHORS, width=0.75),
    "authors_axial50l": AUTHORS,
}
"""The authors' classifiers, for those who find one by its shapes."""


def build_panoptic(plan: PanopticPlan, num_classes: int) -> PanopticDeepLab:
    """Build the network of a plan with random weights."""

    def build_aspp(in_channels: int, out_channels: int) -> nn.Module:
        return ASPP(in_channels, out_channels, plan.aspp_rates, pool=plan.aspp_pool)

    return PanopticDeepLab(
        build_planned_encoder(plan.encoder),
        num_classes,
        build_aspp if plan.context == "aspp" else ConvNormAct,
        semantic=plan.semantic,
        instance=plan.instance,
        head_channels=plan.head_channels,
    )


def build_authors(config: AxialResNetConfig, num_classes: int) -> Classifier:
    """Build a classifier with the norm constants of the authors' PyTorch code."""
    model = Classifier(build_axial_resnet(config), num_classes)
    configure_norms(model, eps=1e-5, momentum=0.1, correction=1)
    return model


DESCRIBED: dict[str, tuple[type, Callable[[Any, int], nn.Module]]] = {
    "deeplab2_described": (PanopticPlan, build_panoptic),
    "authors_described": (AxialResNetConfig, build_authors),
}
"""Networks without a name of their own: the dataclass of the description, and the builder that takes it and the classes."""


def find_plan(plan: PanopticPlan) -> str | None:
    """Return the name of a network by its plan; what only matters in training is passed over."""
    wanted = _forget_training(plan)
    return next((name for name, known in PLANS.items() if _forget_training(known) == wanted), None)


def complete_plan(encoder: EncoderPlan) -> PanopticPlan:
    """Return the plan of the first known network with this encoder, or of the encoder with the usual decoders and heads."""
    known = (_forget_training(plan) for plan in PLANS.values())
    return next((plan for plan in known if plan.encoder == encoder), PanopticPlan(encoder))


def _forget_training(plan: PanopticPlan) -> PanopticPlan:
    return replace(plan, encoder=set_drop_path(plan.encoder, 0.0, beyond=1))
