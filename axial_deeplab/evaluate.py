"""Score a network on labeled images, one by one, and leave predictions that any other evaluator can check."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from axial_deeplab.data.files import write_json
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.panoptic_quality import PanopticQuality, PanopticReport
from axial_deeplab.predict import Predictor, show_progress
from axial_deeplab.records import Category, PanopticPrediction, PanopticRecord


class LabeledImages(Protocol):
    """Any sequence of records with a class table."""

    @property
    def categories(self) -> tuple[Category, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> PanopticRecord: ...


def evaluate(predictor: Predictor, dataset: LabeledImages, output: str | Path) -> PanopticReport:
    """Segment and score every image of `dataset`.

    `output` gets `predictions/NAME.png` and `predictions.json` (COCO-panoptic format), and `report.json`.

    Raises:
        InputError: If the network and the dataset have different classes, or a file is bad.
    """
    output = Path(output)
    positions = match_categories(predictor.categories, dataset.categories, void_class=predictor.config.void_class)
    quality = PanopticQuality(dataset.categories)
    (output / "report.json").unlink(
        missing_ok=True
    )  # an older one would stand beside predictions that it does not score
    with PanopticWriter(output / "predictions.json", dataset.categories) as writer:
        for index in range(len(dataset)):
            show_progress(index + 1, len(dataset))
            record = dataset[index]
            prediction = translate_classes(predictor(record.image.permute(1, 2, 0)), positions)
            quality.update(record.panoptic_map, record.segments, prediction.panoptic_map, prediction.segments)
            writer.add(record.image_id, record.file_name, prediction)
    report = quality.compute()
    write_json(output / "report.json", report.to_json(), indent=2)
    return report


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


def translate_classes(prediction: PanopticPrediction, positions: Sequence[int]) -> PanopticPrediction:
    """Return the prediction with each class replaced by `positions[class]`."""
    segments = [segment._replace(category_id=positions[segment.category_id]) for segment in prediction.segments]
    return PanopticPrediction(prediction.panoptic_map, segments)
