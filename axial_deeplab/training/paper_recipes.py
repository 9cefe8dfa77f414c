"""The paper's experiments as a table: dataset, network, and what the network costs beside what the paper prints."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from axial_deeplab.training.config import ModelConfig, Recipe
from axial_deeplab.training.measured import MeasuredRow, format_scores, read_own_rows
from axial_deeplab.training.protocols import DEVICES, PROTOCOLS, Protocol
from axial_deeplab.training.published import ROWS, PaperRow


class Experiment(NamedTuple):
    """One network on one dataset.

    Attributes:
        dataset: A key of `PROTOCOLS`.
        model: One of `axial-deeplab models`.
        params_m: Its parameters in millions, with 19 classes as the paper's counts.
        multiply_adds_g: Its multiply-adds in billions at the dataset's input size.
        multi_scale_g: The same over all scales and mirror images, where the paper scores so.
        from_mapillary: Start from the same network trained on Mapillary Vistas.
    """

    dataset: str
    model: str
    params_m: float
    multiply_adds_g: float
    multi_scale_g: float | None = None
    from_mapillary: bool = False

    @property
    def name(self) -> str:
        """The recipe's name."""
        return f"{self.dataset}_{self.model}" + ("_mapillary" if self.from_mapillary else "")

    @property
    def protocol(self) -> Protocol:
        return PROTOCOLS[self.dataset]


EXPERIMENTS = (
    Experiment("coco", "axial_deeplab_s", 12.38, 107.0),
    Experiment("coco", "axial_deeplab_m", 26.22, 205.7),
    Experiment("coco", "axial_deeplab_l", 45.29, 339.5, 3804.4),
    Experiment("mapillary", "axial_deeplab_l", 45.29, 1516.0, 38351.8),
    Experiment("mapillary", "axial_deeplab_xl", 173.72, 5472.7),
    Experiment("cityscapes", "axial_deeplab_s", 12.38, 213.0),
    Experiment("cityscapes", "axial_deeplab_m", 26.22, 409.3),
    Experiment("cityscapes", "axial_deeplab_l", 45.29, 675.4, 17049.7),
    Experiment("cityscapes", "axial_deeplab_xl", 173.72, 2438.6, 61559.1),
    Experiment("cityscapes", "axial_deeplab_l", 45.29, 675.4, 17049.7, from_mapillary=True),
    Experiment("cityscapes", "axial_deeplab_xl", 173.72, 2438.6, 61559.1, from_mapillary=True),
    Experiment("cityscapes", "resnet50_deeplab", 24.81, 380.3),
    Experiment("cityscapes", "resnet50_deeplab_aspp", 30.07, 396.1),
    Experiment("cityscapes", "sasa_deeplab", 17.29, 320.7),
    Experiment("cityscapes", "sasa_deeplab_aspp", 22.55, 336.5),
    Experiment("cityscapes", "position_sensitive_deeplab", 17.31, 329.2),
    Experiment("cityscapes", "position_sensitive_deeplab_aspp", 22.56, 345.0),
    Experiment("cityscapes", "resnet101_deeplab", 43.80, 539.1),
    Experiment("cityscapes", "axial_deeplab_l_span5", 45.29, 607.6),
    Experiment("cityscapes", "axial_deeplab_l_span9", 45.29, 612.1),
    Experiment("cityscapes", "axial_deeplab_l_span17", 45.29, 621.2),
    Experiment("cityscapes", "axial_deeplab_l_span33", 45.29, 639.3),
    Experiment("cityscapes", "axial_deeplab_l_os32", 45.29, 522.1),
)
"""tuple: Every network of `published.ROWS`, and the XL on Mapillary Vistas that table 5 starts from."""

PASSES = {"axial_deeplab_s": 1, "resnet50_deeplab": 1, "resnet50_deeplab_aspp": 1, "axial_deeplab_xl": 4}
"""dict: Forward passes that share a step on each of `DEVICES`, two where none is named: a guess for 80 GB, not measured."""


def build_recipe(experiment: Experiment) -> Recipe:
    """Return the recipe of an experiment; on `DEVICES` its batch is the published one."""
    base = experiment.protocol.recipe
    share = base.reference_batch // DEVICES
    accumulate = PASSES.get(experiment.model, 2)
    init = f"runs/mapillary_{experiment.model}/checkpoint" if experiment.from_mapillary else None
    return replace(
        base,
        name=experiment.name,
        model=ModelConfig(experiment.model, init=init),
        batch_size=share // accumulate,
        accumulate=accumulate,
        preprocess=replace(base.preprocess, multiple=32 if experiment.model.endswith("os32") else 16),
    )


def describe_recipe(experiment: Experiment, measured: tuple[MeasuredRow, ...] = ()) -> str:
    """Return the docstring of a recipe: source, scores published and measured, cost beside the paper's, command."""
    rows = [row for row in ROWS if row.recipe == experiment.name]
    own = [row for row in measured if row.recipe == experiment.name]
    base = experiment.protocol.recipe
    height, width = base.augment.crop_size
    start = "the weights of the Mapillary recipe" if experiment.from_mapillary else "random weights, or model.init's"
    tables = ", ".join(dict.fromkeys(row.table for row in rows)) or "5a, whose Mapillary-pretrained rows start from it"
    lines = [
        f"Train {experiment.model} on {experiment.dataset.capitalize()} as the paper does, from {start}.",
        "",
        f"Source: Axial-DeepLab (arXiv 2003.07853), table {tables}; protocol in `training.protocols`.",
        *(f"Published: {describe_row(row, experiment)}." for row in rows),
        *([] if rows else ["Published: none."]),
        *(f"Measured: {describe_measured(row)}." for row in own),
        *([] if own else ["Measured: not yet measured."]),
        f"Cost: {describe_cost(experiment, rows)}; {base.iterations:,} steps of {base.reference_batch} images of "
        f"{height}x{width} pixels.",
        f"Command: axial-deeplab train {experiment.name} {experiment.protocol.data_options}",
    ]
    return "\n".join(lines)


def describe_row(row: PaperRow, experiment: Experiment) -> str:
    """Return the scores of one row with what they were measured on."""
    scales = {"single": "single scale", "multi": "multi-scale", "unstated": "scales not stated"}[row.scales]
    note = f"; {row.note}" if row.note else ""
    place = f"{experiment.dataset.capitalize()} {row.split} (table {row.table}, {scales})"
    return f"{format_scores(row.scores)} on {place}{note}"


def describe_measured(row: MeasuredRow) -> str:
    """Return the scores of one measured row with its circumstances."""
    scales = "single scale" if row.scales == "single" else "multi-scale"
    return f"{format_scores(row.scores)} on {row.split}, {scales}, {row.hardware}, {row.date}, {row.commit}"


def describe_cost(experiment: Experiment, rows: list[PaperRow]) -> str:
    """Return parameters and multiply-adds at one scale, beside the paper's where it prints them."""
    printed = next((row for row in rows if row.params_m is not None and row.scales == "single"), None)
    parameters = f"{experiment.params_m} M parameters"
    multiply_adds = f"{experiment.multiply_adds_g} G multiply-adds"
    if printed is None:
        return f"{parameters}, {multiply_adds}"
    return f"{parameters} (paper {printed.params_m}), {multiply_adds} (paper {printed.multiply_adds_g})"


def _make_function(experiment: Experiment, measured: tuple[MeasuredRow, ...]) -> Callable[[], Recipe]:
    def build() -> Recipe:
        return build_recipe(experiment)

    build.__name__ = build.__qualname__ = experiment.name
    build.__doc__ = describe_recipe(experiment, measured)
    return build


PAPER_RECIPES: dict[str, Callable[[], Recipe]] = {
    experiment.name: _make_function(experiment, read_own_rows()) for experiment in EXPERIMENTS
}
"""dict: A function for each experiment, documented like those of `recipes`."""
