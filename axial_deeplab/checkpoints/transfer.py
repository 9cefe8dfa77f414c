"""Start a network from the weights of another: what fits by name and shape, classes by name, positions by distance."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from axial_deeplab.checkpoints.position_rows import TABLES, find_crop, fit_rows, measure_distances
from axial_deeplab.checkpoints.sources import Source
from axial_deeplab.checkpoints.transfer_report import TableRows, TransferReport
from axial_deeplab.errors import InputError
from axial_deeplab.layers import BatchNorm
from axial_deeplab.records import Category

CLASS_LAYERS = ("semantic_head.predict.", "fc.")
"""tuple: The layers whose outputs are the classes."""

LEAST_SHARE = 0.01
"""float: Share of the parameters below which what fits is taken for a coincidence."""

ABSENT, SHAPE, CLASSES = "not in the checkpoint", "other shape", "other classes"
NEW_WEIGHT = "belongs to a weight that is new"


class Colors(NamedTuple):
    """Mean and standard deviation (R, G, B), in units of 0..1, by which images are normalised."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Match(NamedTuple):
    """What one tensor of a network starts from."""

    value: Tensor | None  # all of it, own rows included; None leaves the tensor as it is
    reason: str = ""  # why not all of it comes from the checkpoint
    share: float = 1.0  # of its values that do


def transfer_weights(
    model: nn.Module,
    source: Source,
    categories: Sequence[Category],
    *,
    crop: tuple[int, int] | None = None,
    colors: Colors | None = None,
) -> TransferReport:
    """Copy into `model` what fits it, and say what did not.

    Args:
        model: A network with random weights, which stay where nothing fits.
        source: What to start from.
        categories: Classes of `model`, in the order of its outputs.
        crop: Height and width of the images that it will be trained with; with it the report says which rows of the position
            tables will be used although the checkpoint's training never reached them.
        colors: How the new training normalises images; with it the report says whether the checkpoint's did otherwise.

    Raises:
        InputError: If nothing fits.
    """
    classes = None if source.config is None else match_classes(categories, source.config.categories)
    own = model.state_dict()
    matches = match_tensors(own, source.weights, classes)
    values = {name: match.value for name, match in matches.items() if match.value is not None}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    share = compute_share(matches, sizes)
    if share < LEAST_SHARE:
        raise InputError(
            f"{source.path} has no weights that fit the model ({len(values)} of {len(own)} tensors, {share:.1%} of the "
            "parameters): choose a checkpoint with the same kind of encoder"
        )
    model.load_state_dict(values, strict=False)
    return TransferReport(
        checkpoint=source.path,
        loaded=len(values),
        tensors=len(own),
        share=share,
        encoder_share=compute_share(
            matches, {name: size for name, size in sizes.items() if name.startswith("encoder.")}
        ),
        at_random={name: match.reason for name, match in matches.items() if match.value is None},
        unused=[name for name in source.weights if name not in values],
        kept_classes=list_kept_classes(matches, classes, categories),
        new_classes=list_new_classes(matches, classes, categories),
        tables=describe_tables(model, source, values, crop),
        notes=[*compare_forms(model, source), *compare_colors(source, colors)],
        continues=source.config is not None and bool((source.config.recipe.get("model") or {}).get("init")),
    )


def match_classes(categories: Sequence[Category], others: Sequence[Category]) -> dict[int, int]:
    """Return which class of a model is which of another, by name; of a name that a list has twice nothing is known.

    Lists of the same names in the same order match as they are.
    """
    names, other_names = ([category.name for category in classes] for classes in (categories, others))
    if names == other_names:
        return {index: index for index in range(len(names))}
    return {
        index: other_names.index(name)
        for index, name in enumerate(names)
        if names.count(name) == other_names.count(name) == 1
    }


def match_tensors(own: dict[str, Tensor], given: dict[str, Tensor], classes: dict[int, int] | None) -> dict[str, Match]:
    """Return what every tensor of a network starts from; see `match_tensor`.

    Norms, biases and position tables come together with the weight that they belong to, or not at all: small ones fit by
    coincidence.
    """
    matches = {name: match_tensor(name, value, given.get(name), classes) for name, value in own.items()}
    for name, match in matches.items():
        weight = matches.get(find_weight(name))
        if match.value is not None and weight is not None and weight.value is None:
            matches[name] = Match(None, weight.reason if weight.reason == CLASSES else NEW_WEIGHT, 0.0)
    return matches


def find_weight(name: str) -> str:
    """Return the name of the weight that a tensor belongs to, its own if it is one."""
    name = re.sub(r"\.norm\.\w+$", ".conv.weight", name)
    name = re.sub(r"\.((qkv|similarity|retrieved)_norm\.\w+|(query|key|value)_table)$", ".qkv.weight", name)
    return re.sub(r"\.bias$", ".weight", name)


def match_tensor(name: str, own: Tensor, given: Tensor | None, classes: dict[int, int] | None) -> Match:
    """Return what a tensor starts from; `classes` is `match_classes`', `None` where the checkpoint names none."""
    if given is None:
        return Match(None, ABSENT, 0.0)
    if name.startswith(CLASS_LAYERS) and classes is not None and given.shape[1:] == own.shape[1:]:
        return match_rows(own, given, classes)
    if given.shape == own.shape:
        return Match(given)
    is_table = name.rpartition(".")[2] in TABLES and given.ndim == own.ndim == 2
    if is_table and given.shape[1] == own.shape[1] and given.shape[0] % 2 == own.shape[0] % 2 == 1:
        return Match(fit_rows(given, own.shape[0]))
    return Match(None, SHAPE, 0.0)


def match_rows(own: Tensor, given: Tensor, classes: dict[int, int]) -> Match:
    """Take over the rows of classes that both have; the others stay as they are."""
    if not classes:
        return Match(None, CLASSES, 0.0)
    value = own.clone()
    value[list(classes)] = given[list(classes.values())].to(own.dtype)
    share = len(classes) / len(own)
    return Match(value, "" if share == 1 else CLASSES, share)


def compute_share(matches: dict[str, Match], sizes: dict[str, int]) -> float:
    """Return which share of the values of these parameters comes from the checkpoint, 0 if there are none."""
    return sum(size * matches[name].share for name, size in sizes.items()) / max(1, sum(sizes.values()))


def list_kept_classes(
    matches: dict[str, Match], classes: dict[int, int] | None, categories: Sequence[Category]
) -> list[str]:
    """Name the classes whose outputs were taken over."""
    heads = [match for name, match in matches.items() if name.startswith(CLASS_LAYERS) and match.value is not None]
    if not heads:
        return []
    return [category.name for index, category in enumerate(categories) if classes is None or index in classes]


def list_new_classes(
    matches: dict[str, Match], classes: dict[int, int] | None, categories: Sequence[Category]
) -> list[str]:
    """Name the classes whose outputs start at random."""
    kept = set(list_kept_classes(matches, classes, categories))
    return [category.name for category in categories if category.name not in kept]


def describe_tables(
    model: nn.Module, source: Source, values: dict[str, Tensor], crop: tuple[int, int] | None
) -> list[TableRows]:
    """Return for every layer whose tables were loaded which of their rows the checkpoint's training reached."""
    encoder = model.encoder
    assert isinstance(encoder, nn.Module)
    loaded = {
        name.rpartition(".")[0].removeprefix("encoder."): (value.shape[0], source.weights[name].shape[0])
        for name, value in values.items()
        if name.rpartition(".")[2] in TABLES and value.ndim == 2
    }
    before = find_crop(source.config.recipe) if loaded and source.config is not None else None
    trained = {} if before is None else measure_distances(source.encoder, before)
    used = {} if crop is None or not loaded else measure_distances(encoder, crop)
    return [
        TableRows(layer, rows, given, _limit(trained.get(layer), min(rows, given)), _limit(used.get(layer), rows))
        for layer, (rows, given) in loaded.items()
    ]


def _limit(distance: int | None, rows: int) -> int | None:
    return None if distance is None else min(distance, rows // 2)


def compare_forms(model: nn.Module, source: Source) -> list[str]:
    """Name differences of the two encoders that names and shapes do not show."""
    encoder = model.encoder
    assert isinstance(encoder, nn.Module)
    notes = []
    eps, before = (
        sorted({module.eps for module in network.modules() if isinstance(module, BatchNorm)})
        for network in (encoder, source.encoder)
    )
    if eps != before:
        notes.append(f"norms add {_join(eps)} to the variance, in the checkpoint's network {_join(before)}")
    for kind, what in ((nn.MaxPool2d, "max-pool in the stem"), (nn.AvgPool2d, "average pooling in blocks that stride")):
        ours, theirs = (
            any(isinstance(module, kind) for module in network.modules()) for network in (encoder, source.encoder)
        )
        if ours != theirs:
            notes.append(f"{what}: {_say(ours)}, in the checkpoint's network {_say(theirs)}")
    return notes


def compare_colors(source: Source, colors: Colors | None) -> list[str]:
    """Say how the checkpoint's network has seen images, if the new training shows them with other colors."""
    before = {} if source.config is None else source.config.preprocess
    if colors is None or not {"mean", "std"} <= before.keys():
        return []
    given = Colors(tuple(before["mean"]), tuple(before["std"]))
    if given == colors:
        return []
    return [
        f"colors have mean {_join(colors.mean)} and deviation {_join(colors.std)}, in the checkpoint's training "
        f"{_join(given.mean)} and {_join(given.std)}: --preprocess.mean '[{_join(given.mean)}]' "
        f"--preprocess.std '[{_join(given.std)}]' shows the network what it knows"
    ]


def _join(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _say(present: bool) -> str:
    return "yes" if present else "no"
