"""The parts of a report: scores, classes, objects by class and size, the worst images."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.colors import choose_color
from axial_deeplab.metrics.average_precision import ClassPrecision, PrecisionReport
from axial_deeplab.metrics.error_counts import ErrorCounts, ScoredImage, SizeBin, WorstImage
from axial_deeplab.metrics.object_errors import HARDLY, OBJECT_KINDS, PIECE, PREDICTION_KINDS
from axial_deeplab.metrics.panoptic_quality import PanopticReport
from axial_deeplab.metrics.task_scores import TaskReport
from axial_deeplab.records import Category
from axial_deeplab.report.html import Cell, Markup, format_swatch, format_table, format_terms, to_html
from axial_deeplab.report.pictures import MARKS, Pictured, draw_pictures, encode_picture

TERMS = (
    ("found, right", "object and prediction have one class and an intersection over union (IoU) above one half"),
    ("missed", f"predicted things cover at most {HARDLY:.0%} of the object"),
    ("invented", f"objects cover at most {HARDLY:.0%} of the prediction"),
    ("merged", "more than half of the object lies in a prediction that holds more than half of another object too"),
    ("merging", "the prediction holds more than half of each of two or more objects"),
    (
        "split",
        f"two or more predictions lie mostly in the object, each at least {PIECE:.0%} of it, together more than half of it",
    ),
    ("piece", "the prediction is one of these, or lies mostly in an object that another prediction found"),
    ("wrong class", "object and prediction have an IoU above one half, and different classes"),
    ("inexact", "what is left: seen, with a poor outline"),
)
"""tuple: What the columns mean; `metrics/object_errors.py` has the rules."""


def describe_scores(report: TaskReport) -> str:
    """Return the averages of all tasks, in percent."""
    rows: list[tuple[Cell, ...]]
    tables = []
    if report.panoptic:
        groups = {"All": report.panoptic.all, "Things": report.panoptic.things, "Stuff": report.panoptic.stuff}
        rows = [(name, q.pq, q.sq, q.rq, q.n) for name, q in groups.items()]
        tables.append(format_table(("", "PQ", "SQ", "RQ", "classes"), rows, caption="Panoptic"))
    if report.semantic:
        row = "All", report.semantic.miou, report.semantic.pixel_accuracy
        tables.append(format_table(("", "mIoU", "pixels right"), [row], caption="Semantic"))
    if report.cityscapes_iou:
        both = {"Classes": report.cityscapes_iou.classes, "Categories": report.cityscapes_iou.groups}
        rows = [(name, figures.iou, figures.iiou) for name, figures in both.items()]
        tables.append(format_table(("", "IoU", "iIoU"), rows, caption="Semantic, as Cityscapes has it"))
    if isinstance(report.instance, PrecisionReport):
        rows = [("AP", report.instance.ap), ("AP50", report.instance.ap50)]
        tables.append(format_table(("", "%"), rows, caption="Instance, as Cityscapes has it"))
    elif report.instance:
        figures = [(name.replace("_", ", "), value) for name, value in report.instance.figures.items()]
        tables.append(format_table(("", "%"), figures, caption="Instance"))
    return f'<h2>Scores</h2><div class="side">{"".join(tables)}</div>'


def describe_classes(report: TaskReport, categories: Sequence[Category]) -> str:
    """Return the figures of each class."""
    if not (report.panoptic or report.semantic or report.instance):
        return ""
    columns = _list_columns(report)
    rows = [
        (
            _name(position, categories),
            "thing" if category.is_thing else "stuff",
            *(get(category.id) for _, get in columns),
        )
        for position, category in enumerate(categories)
    ]
    return f"<h2>Classes</h2>{format_table(('class', 'kind', *(name for name, _ in columns)), rows)}"


def describe_objects(counts: ErrorCounts) -> str:
    """Return what became of objects and predictions, by class and by size."""
    if not (counts.objects.any() or counts.predictions.any()):
        return "<h2>Objects</h2><p>There is no object, neither in the truth nor in the prediction.</p>"
    bins = counts.choose_bins()
    sides = (("objects", counts.objects, OBJECT_KINDS), ("predictions", counts.predictions, PREDICTION_KINDS))
    by_class = [_tabulate("class", name, kinds, _sum_by_class(n, counts.categories)) for name, n, kinds in sides]
    by_size = [_tabulate("pixels", name, kinds, _sum_by_size(n, bins)) for name, n, kinds in sides]
    return "\n".join(
        [
            "<h2>Objects</h2>",
            format_terms(TERMS),
            f'<h3>By class</h3><div class="side">{"".join(by_class)}</div>',
            f'<h3>By size</h3><div class="side">{"".join(by_size)}</div>',
            "<p>The sizes divide the true objects of these images into groups of about equally many.</p>",
        ]
    )


def describe_worst(
    worst: Sequence[WorstImage], categories: Sequence[Category], read: Callable[[ScoredImage], Pictured] | None
) -> str:
    """Return the images with the lowest PQ, with pictures if `read` returns what they need."""
    if not worst:
        return ""
    parts = [f"<h2>The {len(worst)} images with the lowest PQ</h2>"]
    if read is not None:
        keys = [format_swatch(color, kind) for kind, color in MARKS.items()]
        parts.append(f'<p class="key"><b>Outlines:</b> {" ".join(f"<span>{key}</span>" for key in keys)}</p>')
        parts.append("<p>Of a merge and of a split all parts are outlined on both sides, those that are found too.</p>")
        names = [f"<span>{_name(position, categories)}</span>" for position in _list_present(worst)]
        parts.append(f'<p class="key"><b>Classes:</b> {" ".join(names)}</p>')
    for rank, entry in enumerate(worst, start=1):
        told = ", ".join(f"{number} {kind}" for kind, number in _count_kinds(entry).items() if number)
        line = f"PQ {100 * entry.quality.pq:.1f}"
        parts.append(f"<h3>{rank}. {to_html(entry.image.file_name)}</h3><p>{line}{'; ' + told if told else ''}</p>")
        if read is not None:
            drawn = draw_pictures(read(entry.image), entry.errors, categories)
            figures = [
                f'<figure><img alt="{name}" src="{encode_picture(picture)}"><figcaption>{name}</figcaption></figure>'
                for name, picture in zip(("image", "truth", "prediction"), drawn, strict=True)
            ]
            parts.append(f'<div class="pictures">{"".join(figures)}</div>')
    return "\n".join(parts)


def _list_columns(report: TaskReport) -> list[tuple[str, Callable[[int], Cell]]]:
    """Return the heads of the columns of the classes and how to look a figure up by the dataset's id of the class."""
    columns: list[tuple[str, Callable[[int], Cell]]] = []
    if report.panoptic:
        columns += _list_panoptic(report.panoptic)
    if report.semantic:
        iou = report.semantic.per_class
        columns.append(("IoU", lambda number: iou.get(number)))
    if report.instance:
        precision = report.instance.per_class

        def get(number: int) -> Cell:
            figures = precision.get(number)
            return figures.ap if isinstance(figures, ClassPrecision) else figures

        columns.append(("AP", get))
    return columns


def _list_panoptic(report: PanopticReport) -> list[tuple[str, Callable[[int], Cell]]]:
    def pick(name: str) -> Callable[[int], Cell]:
        return lambda number: getattr(report.per_class[number], name) if report.per_class[number].n else None

    return [(name.upper(), pick(name)) for name in ("pq", "sq", "rq", "tp", "fp", "fn")]


Row = tuple[str, NDArray[np.int64]]
"""Name of a row, and a number for each kind."""


def _sum_by_class(values: NDArray[np.int64], categories: Sequence[Category]) -> list[Row]:
    things = [position for position, category in enumerate(categories) if category.is_thing]
    return [(_name(position, categories), values[position].sum(-1)) for position in things]


def _sum_by_size(values: NDArray[np.int64], bins: Sequence[SizeBin]) -> list[Row]:
    names = [f"{size.low} to {size.high}" if size.high else f"from {size.low}" for size in bins]
    return [(name, values[..., size.steps].sum((0, 2))) for name, size in zip(names, bins, strict=True)]


def _tabulate(title: str, name: str, kinds: Sequence[str], rows: Sequence[Row]) -> str:
    lines: list[tuple[Cell, ...]] = [(head, int(numbers.sum()), *numbers.tolist()) for head, numbers in rows]
    everything = np.sum([numbers for _, numbers in rows], axis=0)
    return format_table((title, name, *kinds), lines, total=("all", int(everything.sum()), *everything.tolist()))


def _name(position: int, categories: Sequence[Category]) -> Markup:
    return format_swatch(choose_color(position, categories), categories[position].name)


def _list_present(worst: Sequence[WorstImage]) -> list[int]:
    images = [entry.image for entry in worst]
    return sorted({s.category_id for image in images for s in (*image.truth_segments, *image.predicted_segments)})


def _count_kinds(entry: WorstImage) -> dict[str, int]:
    kinds = [verdict.kind for verdict in entry.errors.objects.values()]
    guesses = [verdict.kind for verdict in entry.errors.predictions.values()]
    counts = {kind: kinds.count(kind) for kind in OBJECT_KINDS}
    return {
        "found": counts.pop("found"),
        "missed": counts.pop("missed"),
        "invented": guesses.count("invented"),
        **counts,
    }
