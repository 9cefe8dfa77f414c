"""Say what became of each object: found, missed, merged, split; and of each prediction: right, invented, and so on.

Objects are things that are not crowd. Everything is decided on counts of shared pixels, whatever the classes, except where
a class is named. Each object and each prediction is one of the following, the first that fits.

Objects:

- found: matched as in PQ, by a prediction of its class with an intersection over union (IoU) above one half
- wrong class: a prediction of another class has an IoU above one half with it
- merged: more than half of it lies in a prediction that holds more than half of another object too
- split: two or more predictions are its pieces: each lies in it with more than half of its pixels and is at least a tenth of
  it, together they are more than half of it
- missed: predicted things cover at most a quarter of it
- inexact: what is left; seen, with a poor outline

Predictions:

- right: matched as in PQ
- excused: more than half of it lies on void or on crowd of its class; PQ does not count it, nor do tables
- wrong class: an object of another class has an IoU above one half with it
- merging: it holds more than half of each of two or more objects
- piece: one of the pieces of an object, or with more than half of its pixels in an object that another prediction matches
- invented: objects cover at most a quarter of it
- inexact: what is left

Shares of a prediction are shares of its pixels without void and crowd of its class.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from axial_deeplab.metrics.overlaps import Overlaps, sum_pixels
from axial_deeplab.metrics.panoptic_quality import match_segments
from axial_deeplab.records import VOID_ID, Segment

OBJECT_KINDS = ("found", "missed", "merged", "split", "wrong class", "inexact")
PREDICTION_KINDS = ("right", "invented", "merging", "piece", "wrong class", "inexact")
EXCUSED = "excused"

HARDLY = 0.25
"""float: An object is missed, a prediction invented, if no more of it is covered."""

PIECE = 0.1
"""float: Smallest share of an object that counts as a piece of it."""


class Verdict(NamedTuple):
    """What became of one object or prediction."""

    kind: str
    category_id: int  # contiguous, its own
    area: int  # pixels in its map


class ObjectErrors(NamedTuple):
    """What became of the objects and the predictions of one image.

    `merges` lists the objects in each prediction that holds more than half of several, `splits` the pieces of each object that
    has several; among these may be some that are found or right.
    """

    objects: dict[int, Verdict]  # by segment id, as in the other fields
    predictions: dict[int, Verdict]
    merges: dict[int, tuple[int, ...]]
    splits: dict[int, tuple[int, ...]]


class _Scene(NamedTuple):
    """The things of an image and the pixels that they share."""

    objects: dict[int, Segment]
    predictions: dict[int, Segment]
    shared: Overlaps  # of objects and predictions alone
    object_area: dict[int, int]
    prediction_area: dict[int, int]
    counted_area: dict[int, int]  # of predictions, without void and crowd of their class


def find_object_errors(
    overlaps: Overlaps, truth_segments: Sequence[Segment], predicted_segments: Sequence[Segment]
) -> ObjectErrors:
    """Judge the things of one image by the rules above.

    Args:
        overlaps: `measure_overlaps(truth, prediction)`.
        truth_segments: One entry for every id in the map, with contiguous class.
        predicted_segments: The same.
    """
    scene = _describe(overlaps, truth_segments, predicted_segments)
    merges, splits = _find_merges(scene.shared, scene.object_area), _find_splits(scene)
    partners = _find_partners(scene, overlaps)
    return ObjectErrors(
        _judge_objects(scene, partners, merges, splits),
        _judge_predictions(scene, {guess: actual for actual, guess in partners.items()}, merges, splits),
        merges,
        splits,
    )


def _find_merges(shared: Overlaps, object_area: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    """Return for each prediction that holds more than half of two or more objects which ones these are."""
    held: dict[int, tuple[int, ...]] = {}
    for (actual, guess), pixels in shared.items():
        if 2 * pixels > object_area[actual]:
            held[guess] = (*held.get(guess, ()), actual)
    return {guess: objects for guess, objects in held.items() if len(objects) > 1}


def _find_splits(scene: _Scene) -> dict[int, tuple[int, ...]]:
    """Return for each object that has two or more pieces which predictions these are."""
    pieces: dict[int, tuple[int, ...]] = {}
    covered: dict[int, int] = {}
    for (actual, guess), pixels in scene.shared.items():
        if 2 * pixels > scene.counted_area[guess] and pixels >= PIECE * scene.object_area[actual]:
            pieces[actual] = (*pieces.get(actual, ()), guess)
            covered[actual] = covered.get(actual, 0) + pixels
    return {
        actual: found
        for actual, found in pieces.items()
        if len(found) > 1 and 2 * covered[actual] > scene.object_area[actual]
    }


def _describe(overlaps: Overlaps, truth: Sequence[Segment], predicted: Sequence[Segment]) -> _Scene:
    objects = {segment.id: segment for segment in truth if segment.is_thing and not segment.is_crowd}
    predictions = {segment.id: segment for segment in predicted if segment.is_thing}
    crowds = {segment.id: segment.category_id for segment in truth if segment.is_crowd}
    areas = sum_pixels(overlaps, 1)
    counted = {number: areas[number] for number in predictions}
    for (actual, guess), pixels in overlaps.items():
        if guess in predictions and (actual == VOID_ID or crowds.get(actual) == predictions[guess].category_id):
            counted[guess] -= pixels
    shared = {pair: n for pair, n in overlaps.items() if pair[0] in objects and pair[1] in predictions}
    return _Scene(objects, predictions, shared, sum_pixels(overlaps, 0), areas, counted)


def _find_partners(scene: _Scene, overlaps: Overlaps) -> dict[int, int]:
    """Return for each object the prediction with an IoU above one half, of whatever class; there is at most one."""
    sides = scene.objects.values(), scene.predictions.values()
    truth, predicted = ([segment._replace(category_id=0) for segment in side] for side in sides)
    matches = match_segments(truth, predicted, overlaps, (scene.object_area, scene.prediction_area))
    return {actual.id: guess.id for actual, guess, _ in matches}


def _judge_objects(
    scene: _Scene,
    partners: Mapping[int, int],
    merges: Mapping[int, tuple[int, ...]],
    splits: Mapping[int, tuple[int, ...]],
) -> dict[int, Verdict]:
    merged = {actual for objects in merges.values() for actual in objects}
    covered = sum_pixels(scene.shared, 0)
    verdicts = {}
    for number, segment in scene.objects.items():
        area = scene.object_area[number]
        if number in partners:
            same = scene.predictions[partners[number]].category_id == segment.category_id
            kind = "found" if same else "wrong class"
        elif number in merged:
            kind = "merged"
        elif number in splits:
            kind = "split"
        else:
            kind = "missed" if covered.get(number, 0) <= HARDLY * area else "inexact"
        verdicts[number] = Verdict(kind, segment.category_id, area)
    return verdicts


def _judge_predictions(
    scene: _Scene,
    partners: Mapping[int, int],
    merges: Mapping[int, tuple[int, ...]],
    splits: Mapping[int, tuple[int, ...]],
) -> dict[int, Verdict]:
    found = set(partners.values())
    pieces = {guess for group in splits.values() for guess in group} | {
        guess for (actual, guess), n in scene.shared.items() if actual in found and 2 * n > scene.counted_area[guess]
    }
    covered = sum_pixels(scene.shared, 1)
    verdicts = {}
    for number, segment in scene.predictions.items():
        area, counted = scene.prediction_area[number], scene.counted_area[number]
        if number in partners and scene.objects[partners[number]].category_id == segment.category_id:
            kind = "right"
        elif 2 * counted < area:
            kind = EXCUSED
        elif number in partners:
            kind = "wrong class"
        elif number in merges:
            kind = "merging"
        elif number in pieces:
            kind = "piece"
        else:
            kind = "invented" if covered.get(number, 0) <= HARDLY * counted else "inexact"
        verdicts[number] = Verdict(kind, segment.category_id, area)
    return verdicts
