"""Bring the images of a truth on disk together with their predictions."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from axial_deeplab.data.panoptic_json import ImageId, PanopticJson, read_panoptic_json
from axial_deeplab.errors import InputError
from axial_deeplab.records import Segment


class PanopticPair(NamedTuple):
    """One image: the PNGs of truth and prediction, and what their JSON files say of them.

    Pixels of the true segment ids in `void` do not count.
    """

    image_id: ImageId
    truth: Path
    truth_segments: tuple[Segment, ...]
    prediction: Path
    predicted_segments: tuple[Segment, ...]
    void: frozenset[int]

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of both files, for messages."""
        return str(self.truth), str(self.prediction)


def list_pairs(
    truth: PanopticJson, predictions_json: Path, folders: tuple[Path | str | None, Path | str | None] = (None, None)
) -> list[PanopticPair]:
    """Return every image of the truth with its prediction, in the order of the truth.

    Args:
        truth: The truth.
        predictions_json: The predictions; further images in them are passed over.
        folders: Where the PNGs of truth and predictions are; by default the folders named like the JSON files.

    Raises:
        InputError: The predictions cannot be read, or an image has none.
    """
    predictions = read_panoptic_json(predictions_json, categories=truth.categories)
    check_images(truth, predictions.annotations.keys(), predictions_json)
    masks, predicted_masks = (
        Path(folder) if folder else content.masks for folder, content in zip(folders, (truth, predictions), strict=True)
    )
    return [
        PanopticPair(
            image_id,
            masks / actual.file_name,
            actual.segments,
            predicted_masks / predictions.annotations[image_id].file_name,
            predictions.annotations[image_id].segments,
            actual.void,
        )
        for image_id, actual in truth.annotations.items()
    ]


def check_images(truth: PanopticJson, predicted: Collection[ImageId], source: Path) -> None:
    """Raise InputError unless there is a truth, and a prediction for each of its images."""
    if not truth.annotations:
        raise InputError(f"{truth.path}: 'annotations' is empty: there is nothing to score")
    missing = [image_id for image_id in truth.annotations if image_id not in predicted]
    if missing:
        advice = "predict all of them"
        if predicted and not any(image_id in truth.annotations for image_id in predicted):
            advice = (
                f"its ids are such as {next(iter(predicted))!r}; evaluate, and predict with --submission coco-panoptic, "
                "write the ids of the data set"
            )
        raise InputError(
            f"{source} has no prediction for {len(missing)} images of {truth.path} "
            f"(the first has image_id {missing[0]!r}): {advice}"
        )
