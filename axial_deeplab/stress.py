"""The scale stress test: panoptic quality of a network on images of other sizes than it was trained on.

Source: Axial-DeepLab (arXiv 2003.07853), figure 4.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from axial_deeplab.data.files import write_atomic, write_png
from axial_deeplab.data.transforms import fit_longest_side
from axial_deeplab.errors import InputError
from axial_deeplab.evaluate import LabeledImages, match_categories
from axial_deeplab.line_chart import draw_line_chart
from axial_deeplab.metrics.panoptic_quality import PanopticQuality, PanopticReport
from axial_deeplab.predict import Predictor, show_progress, translate_classes
from axial_deeplab.records import PanopticPrediction


class ScaleReport(NamedTuple):
    """The figures at one scale of the images."""

    scale: float
    report: PanopticReport


def stress(
    predictor: Predictor, dataset: LabeledImages, scales: Sequence[float], output: str | Path
) -> list[ScaleReport]:
    """Segment every image at every scale, bring the maps back to the size of the labels, and score them.

    `output` gets `stress.csv`, a row for each scale in percent, and `stress.png`, the curves of PQ.

    Raises:
        InputError: If a scale is not positive or comes twice, the dataset is empty, the network and the dataset have
            different classes, a file is bad, or a scaled image is too large for the GPU.
    """
    if not scales or len(set(scales)) < len(scales) or not all(0 < scale < math.inf for scale in scales):
        raise InputError(f"scales must be different positive numbers, at least one: {tuple(scales)}")
    if len(dataset) == 0:
        raise InputError("the dataset has no images to score")
    positions = match_categories(predictor.categories, dataset.categories, void_class=predictor.config.void_class)
    qualities = {scale: PanopticQuality(dataset.categories) for scale in sorted(scales)}
    for index in range(len(dataset)):
        show_progress(index + 1, len(dataset))
        record = dataset[index]
        for scale, quality in qualities.items():
            try:
                prediction = translate_classes(predict_scaled(predictor, record.image, scale), positions)
            except torch.OutOfMemoryError:
                raise InputError(
                    f"{record.file_name} at scale {scale:g} is too large for the GPU's memory: use --tile 1025"
                ) from None
            quality.update(record.panoptic_map, record.segments, prediction.panoptic_map, prediction.segments)
    reports = [ScaleReport(scale, quality.compute()) for scale, quality in qualities.items()]
    write_csv(Path(output) / "stress.csv", reports)
    write_png(Path(output) / "stress.png", draw_curves(reports))
    return reports


def predict_scaled(predictor: Predictor, image: Tensor, scale: float) -> PanopticPrediction:
    """Segment an image [3, height, width] resized by `scale`; the map has the size of the image.

    1 is the size at which the network is used: where its checkpoint resizes images, the scale counts from there.
    """
    size = fit_longest_side((image.shape[1], image.shape[2]), predictor.preprocess.longest_side)
    preprocess = replace(predictor.preprocess, longest_side=max(1, round(max(size) * scale)))
    return predictor.predict_with_heads(image.permute(1, 2, 0), preprocess=preprocess)[0]


def list_figures(row: ScaleReport) -> dict[str, float]:
    """Return the figures of one scale by the name of their column, in percent but for `scale`."""
    groups = {"": row.report.all, "_things": row.report.things, "_stuff": row.report.stuff}
    figures = {
        f"{key}{name}": 100 * getattr(group, key) for name, group in groups.items() for key in ("pq", "sq", "rq")
    }
    return {"scale": row.scale, **figures}


def write_csv(path: Path, reports: Sequence[ScaleReport]) -> None:
    """Write one row for each scale, with a header.

    Raises:
        InputError: If the file cannot be written.
    """
    rows = [list_figures(row) for row in reports]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([f"{value:.6g}" for value in row.values()] for row in rows)
    write_atomic(path, lambda file: file.write(text.getvalue().encode()))


def draw_curves(reports: Sequence[ScaleReport]) -> Image.Image:
    """Draw PQ over the scale: all classes, things and stuff, where the dataset has them."""
    columns = {"all classes": "pq", "things": "pq_things", "stuff": "pq_stuff"}
    figures = [list_figures(row) for row in reports]
    curves = {name: [row[column] for row in figures] for name, column in columns.items()}
    for name, count in (("things", reports[0].report.things.n), ("stuff", reports[0].report.stuff.n)):
        if count == 0:
            del curves[name]
    return draw_line_chart(
        [row.scale for row in reports], curves, title="panoptic quality (PQ, %)", label="scale of the images"
    )


def format_rows(reports: Sequence[ScaleReport]) -> str:
    """Return the figures as a table for the terminal, in percent."""
    rows = [list_figures(row) for row in reports]
    names = [name for name in rows[0] if name != "scale"]
    lines = [f"{'scale':>6}" + "".join(f"{name:>11}" for name in names)]
    for row in rows:
        lines.append(f"{row['scale']:>6g}" + "".join(f"{row[name]:>11.1f}" for name in names))
    return "\n".join(lines)
