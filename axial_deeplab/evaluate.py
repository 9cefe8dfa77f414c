"""Score a network on labeled images, one by one, and leave predictions that any other evaluator can check."""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch

from axial_deeplab.data.files import write_json
from axial_deeplab.data.panoptic_png import read_ids
from axial_deeplab.data.panoptic_writer import PanopticWriter, write_ids
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.error_counts import WORST, ErrorCounts, ScoredImage
from axial_deeplab.metrics.panoptic_quality import PanopticReport
from axial_deeplab.metrics.task_scores import Measure, TaskReport, TaskScores, Things, explain_left_out, measure_maps
from axial_deeplab.metrics.workers import Workers
from axial_deeplab.predict import Predictor, show_progress, translate_classes
from axial_deeplab.records import Category, PanopticPrediction, PanopticRecord, Segment
from axial_deeplab.report.pictures import Pictured
from axial_deeplab.report.write import write_report


class LabeledImages(Protocol):
    """Any sequence of records with a class table."""

    @property
    def categories(self) -> tuple[Category, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> PanopticRecord: ...


class _Labeled(NamedTuple):
    """A record as arrays: tensors would travel between processes through files."""

    image: np.ndarray  # uint8 [height, width, 3]
    panoptic_map: np.ndarray  # int32 [height, width]
    segments: tuple[Segment, ...]
    image_id: int | str
    file_name: str
    blamed: np.ndarray | None  # bool [height, width]


class _Pair(NamedTuple):
    """What is left to do for an image once it is segmented."""

    truth: np.ndarray  # int32 [height, width]
    predicted: np.ndarray  # int32 [height, width]
    things: Things | None
    png: Path
    blamed: np.ndarray | None  # bool [height, width]


def evaluate(predictor: Predictor, dataset: LabeledImages, output: str | Path) -> PanopticReport:
    """Segment every image of `dataset` and return panoptic quality alone: `evaluate_tasks` for that task."""
    report = evaluate_tasks(predictor, dataset, output, tasks=["panoptic"]).panoptic
    assert report is not None
    return report


def evaluate_tasks(
    predictor: Predictor,
    dataset: LabeledImages,
    output: str | Path,
    *,
    tasks: Sequence[str] | None = None,
    processes: int = 1,
    worst: int = WORST,
) -> TaskReport:
    """Segment and score every image of `dataset`.

    `output` gets `predictions/NAME.png` and `predictions.json` (COCO-panoptic format), `report.json`, and `report.html` with
    the images that went worst. The figures do not depend on the number of processes.

    Args:
        predictor: Runs in this process.
        dataset: Can be pickled if there are several processes.
        output: Folder for the results.
        tasks: Some of "panoptic", "instance" and "semantic"; by default all that the classes and the installation allow.
        processes: How many read images, write PNGs and compare maps.
        worst: How many images `report.html` shows; they are read a second time.

    Raises:
        InputError: If the network and the dataset have different classes, or a file is bad.
    """
    if len(dataset) == 0:
        raise InputError("the dataset has no images to score")
    output = Path(output)
    positions = match_categories(predictor.categories, dataset.categories, void_class=predictor.config.void_class)
    scores = TaskScores(dataset.categories, tasks)
    if tasks is None and (line := explain_left_out(dataset.categories)):
        print(line, file=sys.stderr)
    errors = ErrorCounts(dataset.categories, worst=worst)
    for name in ("report.json", "report.html"):  # older ones would stand beside predictions that they do not score
        (output / name).unlink(missing_ok=True)
    listed: deque[ScoredImage] = deque()
    with (
        PanopticWriter(output / "predictions.json", dataset.categories) as writer,
        Workers(processes, dataset) as workers,
    ):

        def segment_images() -> Iterator[_Pair]:
            for index, record in enumerate(workers.map(_read, range(len(dataset)))):
                show_progress(index + 1, len(dataset))
                prediction = translate_classes(_segment(predictor, record), positions)
                things = scores.choose_things(record.segments, prediction.segments)
                png = writer.list(record.image_id, record.file_name, prediction)
                names = record.image_id, record.file_name, png
                listed.append(ScoredImage(index, *names, record.segments, prediction.segments))
                yield _Pair(record.panoptic_map, prediction.panoptic_map.numpy(), things, png, record.blamed)

        for measure in workers.map(_finish, segment_images()):
            image = listed.popleft()
            scores.update(image.image_id, measure, image.truth_segments, image.predicted_segments)
            errors.update(image, measure.overlaps)
    report = scores.compute()
    write_json(output / "report.json", report.to_json(), indent=2)
    write_report(output / "report.html", report, errors, partial(_read_again, dataset))
    return report


def _segment(predictor: Predictor, record: _Labeled) -> PanopticPrediction:
    try:
        return predictor(record.image)
    except torch.OutOfMemoryError:
        raise InputError(f"{record.file_name} is too large for the GPU's memory: use --tile 1025") from None


def _read_again(dataset: LabeledImages, image: ScoredImage) -> Pictured:
    """Return the maps of an image whose prediction was written."""
    record = dataset[image.number]
    truth = PanopticPrediction(record.panoptic_map, list(record.segments))
    predicted = torch.from_numpy(read_ids(image.prediction))
    return Pictured(record.image, truth, PanopticPrediction(predicted, list(image.predicted_segments)))


def _read(dataset: LabeledImages, index: int) -> _Labeled:
    record = dataset[index]
    image, panoptic_map = record.image.permute(1, 2, 0).numpy(), record.panoptic_map.numpy()
    blamed = None if record.blamed is None else record.blamed.numpy()
    return _Labeled(image, panoptic_map, record.segments, record.image_id, record.file_name, blamed)


def _finish(_: LabeledImages, pair: _Pair) -> Measure:
    """Write the prediction and measure it."""
    write_ids(pair.png, pair.predicted)
    return measure_maps(pair.truth, pair.predicted, pair.things, blamed=pair.blamed)


def match_categories(
    known: Sequence[Category], wanted: Sequence[Category], *, void_class: int | None = None
) -> list[int]:
    """Return for each class of a network its position in the class table of a dataset, -1 for its void.

    Raises:
        InputError: If the two do not have the same classes.
    """
    ids = [(category.id, category.is_thing) for category in wanted]
    own = [(category.id, category.is_thing) for category in known]
    if void_class is not None:
        own[void_class] = (-1, False)
    if sorted(pair for pair in own if pair[0] != -1) != sorted(ids):
        differing = sorted({number for number, _ in {*own} ^ {*ids}} - {-1})[:5]
        raise InputError(f"the checkpoint and the dataset differ in the categories with the ids {differing}")
    return [ids.index(pair) if pair[0] != -1 else -1 for pair in own]
