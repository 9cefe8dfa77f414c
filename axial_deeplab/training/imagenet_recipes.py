"""Experiments on ImageNet: the paper's protocol and deeplab2's strong one, for every classifier of theirs.

Stated by the paper: batch 1024, 512 for full axial; all else "same as" stand-alone self-attention: 130 epochs, 10 of them
linear warm-up, a cosine, Nesterov momentum 0.9, rate 1.6 at 4096 images scaled linearly, weights averaged with decay 0.9999.
The weight decay is that of the authors' PyTorch code; as everywhere here it acts on convolutions and projections. Running
statistics are averaged with the weights, which gives them the decay 0.9999 too.

deeplab2 says of its strong checkpoints only what they add: AutoAugment, label smoothing, drop path. The strengths here are
those of its configurations (drop path 0.2) and of the authors' code (label smoothing 0.1).

Source: Axial-DeepLab (arXiv 2003.07853), section 4.1; Stand-Alone Self-Attention (arXiv 1906.05909), appendix A.2;
csrhddlam/axial-deeplab, train.py; deeplab2, g3doc/projects/imagenet_pretrained_checkpoints.md.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from axial_deeplab.training.class_config import ClassDataConfig, ClassificationRecipe
from axial_deeplab.training.config import ModelConfig, OptimizerConfig
from axial_deeplab.training.measured import MeasuredRow, format_scores, read_own_rows
from axial_deeplab.training.published_classes import CLASS_ROWS, ClassRow

DEVICES = 8
"""int: On so many, `batch_size` and `accumulate` make up the published batch."""

RATE, RATE_BATCH = 1.6, 4096

PAPER = ClassificationRecipe(
    "imagenet",
    data=ClassDataConfig(workers=16),
    optimizer=OptimizerConfig("sgd", weight_decay=8e-5, schedule="cosine"),
    epochs=130,
    warmup_epochs=10,
    ema_decay=0.9999,
)

STRONG = replace(
    PAPER, augment=replace(PAPER.augment, auto_augment=True), label_smoothing=0.1, model=ModelConfig(drop_path=0.2)
)


class ImageNetExperiment(NamedTuple):
    """One classifier under one protocol.

    Attributes:
        model: One of `axial-deeplab models`.
        params_m: Its parameters in millions, with 1000 classes.
        multiply_adds_g: Its multiply-adds in billions at 224x224 pixels.
        strong: Whether the protocol is deeplab2's strong one.
    """

    model: str
    params_m: float
    multiply_adds_g: float
    strong: bool = False

    @property
    def name(self) -> str:
        """The recipe's name."""
        return f"imagenet_{'strong_' if self.strong else ''}{self.model}"


_COSTS = {
    "axial_resnet26_s": (6.4, 1.6),
    "axial_resnet50_s": (12.5, 2.6),
    "axial_resnet50_m": (26.5, 5.5),
    "axial_resnet50_l": (45.8, 9.5),
    "axial_resnet50_xl": (174.7, 35.8),
    "axial_resnet50_s_full": (12.5, 3.1),
    "axial_resnet50_m_full": (26.6, 6.6),
    "axial_resnet50_l_full": (45.9, 11.5),
    "axial_resnet50_xl_full": (175.3, 44.1),
    "axial_resnet50_s_inception": (12.5, 3.0),
    "axial_resnet50_m_inception": (26.6, 6.3),
    "axial_resnet50_l_inception": (45.9, 10.8),
    "axial_resnet50_xl_inception": (175.3, 41.4),
    "authors_axial26s": (5.9, 1.8),
    "resnet50": (25.6, 4.1),
    "sasa_resnet50": (18.0, 3.5),
    "position_sensitive_resnet50": (18.1, 3.7),
}

_STRONG_MODELS = (*(name for name in _COSTS if name.endswith("_inception")), "axial_resnet50_s", "resnet50")

IMAGENET_EXPERIMENTS = (
    *(ImageNetExperiment(name, *costs) for name, costs in _COSTS.items()),
    *(ImageNetExperiment(name, *_COSTS[name], strong=True) for name in _STRONG_MODELS),
)
"""tuple: Every classifier under the paper's protocol, and trunks of segmenters under the strong one."""


def build_imagenet_recipe(experiment: ImageNetExperiment) -> ClassificationRecipe:
    """Return the recipe of an experiment; on `DEVICES` its batch is the published one."""
    base = STRONG if experiment.strong else PAPER
    batch = 512 if experiment.model.endswith("_full") else 1024
    accumulate = 2 if "_xl" in experiment.model else 1  # a guess for 80 GB, not measured
    return replace(
        base,
        name=experiment.name,
        model=replace(base.model, name=experiment.model),
        optimizer=replace(base.optimizer, lr=RATE * batch / RATE_BATCH),
        batch_size=batch // DEVICES // accumulate,
        accumulate=accumulate,
        reference_batch=batch,
    )


def describe_imagenet_recipe(experiment: ImageNetExperiment, measured: tuple[MeasuredRow, ...] = ()) -> str:
    """Return the docstring of a recipe: source, scores published and measured, cost, command."""
    rows = [row for row in CLASS_ROWS if row.recipe == experiment.name]
    own = [row for row in measured if row.recipe == experiment.name]
    protocol = "deeplab2's strong protocol" if experiment.strong else "the paper's protocol"
    lines = [
        f"Train {experiment.model} on ImageNet by {protocol}, from random weights.",
        "",
        "Source: Axial-DeepLab (arXiv 2003.07853), section 4.1; protocols in `training.imagenet_recipes`.",
        *(f"Published: {describe_class_row(row)}." for row in rows),
        *([] if rows else ["Published: none."]),
        *(f"Measured: {format_scores(row.scores)}, {row.hardware}, {row.date}, {row.commit}." for row in own),
        *([] if own else ["Measured: not yet measured."]),
        f"Cost: {experiment.params_m} M parameters, {experiment.multiply_adds_g} G multiply-adds; 130 epochs.",
        f"Command: axial-deeplab train {experiment.name} --data.root IMAGENET",
    ]
    return "\n".join(lines)


def describe_class_row(row: ClassRow) -> str:
    """Return a published score with what is known of it."""
    return f"top-1 {row.top1:.1f} (table {row.table})" + (f"; {row.note}" if row.note else "")


def _make_function(
    experiment: ImageNetExperiment, measured: tuple[MeasuredRow, ...]
) -> Callable[[], ClassificationRecipe]:
    build = partial(build_imagenet_recipe, experiment)
    build.__doc__ = describe_imagenet_recipe(experiment, measured)
    return build


IMAGENET_RECIPES: dict[str, Callable[[], ClassificationRecipe]] = {
    experiment.name: _make_function(experiment, read_own_rows()) for experiment in IMAGENET_EXPERIMENTS
}
"""dict: A function for each experiment, documented like those of `recipes`."""
