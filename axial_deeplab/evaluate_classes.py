"""Score a classifier on labeled images."""

from itertools import islice
from pathlib import Path

import torch

from axial_deeplab.classify import ClassPredictor
from axial_deeplab.confusion_chart import draw_confusion
from axial_deeplab.data.classification.preprocess import ClassPreprocess
from axial_deeplab.data.classification.records import ClassifiedImage, ClassifiedImages
from axial_deeplab.data.files import write_json, write_png
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.class_scores import ClassReport, ClassScores
from axial_deeplab.metrics.workers import Workers
from axial_deeplab.predict import show_progress

BATCH = 32
"""int: Images in one pass, where all have one size."""


def evaluate_classes(
    predictor: ClassPredictor, images: ClassifiedImages, output: str | Path, *, processes: int = 1
) -> ClassReport:
    """Classify and score every image of a split.

    `output` gets `report.json` and `confusion.png`. The figures do not depend on the number of processes.

    Args:
        predictor: Runs in this process.
        images: Can be pickled if there are several processes.
        output: Folder for the results.
        processes: How many read and prepare images.

    Raises:
        InputError: If the network and the images have different classes, or an image cannot be read.
    """
    known, wanted = ([category.name for category in table] for table in (predictor.categories, images.categories))
    if known != wanted:
        differing = sorted({*known} ^ {*wanted})[:5]
        raise InputError(
            f"the checkpoint and the images differ in their classes: {', '.join(differing) or 'their order'}"
        )
    output, scores = Path(output), ClassScores(images.categories)
    for name in ("report.json", "confusion.png"):
        (output / name).unlink(missing_ok=True)
    with Workers(processes, (images, predictor.preprocess)) as workers:
        done = 0
        prepared = workers.map(_prepare, range(len(images)))
        while batch := list(islice(prepared, BATCH if predictor.preprocess.crop else 1)):
            done += len(batch)
            show_progress(done, len(images))
            logits = predictor.compute_logits(torch.stack([record.image for record in batch]))
            scores.update(logits, torch.tensor([record.label for record in batch]))
    report = scores.compute()
    write_json(output / "report.json", report.to_json(), indent=2)
    title = f"{predictor.config.model}: top-1 {100 * report.top1:.2f} % of {report.images} images"
    write_png(output / "confusion.png", draw_confusion(report.confusion, report.names, title=title))
    return report


def _prepare(shared: tuple[ClassifiedImages, ClassPreprocess], index: int) -> ClassifiedImage:
    images, preprocess = shared
    record = images[index]
    return record._replace(image=preprocess.prepare(record.image))
