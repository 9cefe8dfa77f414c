"""Panoptic quality in plain loops over pixels and segments, straight from the definition."""

from collections import defaultdict

import numpy as np

from axial_deeplab.records import Segment

Image = tuple[np.ndarray, list[Segment], np.ndarray, list[Segment]]


def count_matches(images: list[Image]) -> dict[int, dict[str, float]]:
    """Return `tp`, `fp`, `fn` and `iou` (the sum over the matches) by class, for maps with their segments."""
    counts: dict[int, dict[str, float]] = defaultdict(lambda: {"tp": 0, "fp": 0, "fn": 0, "iou": 0.0})
    for truth_map, truth_segments, predicted_map, predicted_segments in images:
        truth = [[int(value) for value in row] for row in truth_map]
        predicted = [[int(value) for value in row] for row in predicted_map]
        pixels = [(y, x) for y in range(len(truth)) for x in range(len(truth[0]))]
        matched_truth, matched_prediction = set(), set()
        for actual in truth_segments:
            for guess in predicted_segments:
                if actual.is_crowd or actual.category_id != guess.category_id:
                    continue
                both = sum(truth[y][x] == actual.id and predicted[y][x] == guess.id for y, x in pixels)
                # Unlabeled pixels under the prediction belong to nobody, so they do not enter the union.
                extra = sum(predicted[y][x] == guess.id and truth[y][x] not in (actual.id, 0) for y, x in pixels)
                union = actual.area + extra
                if both / union > 0.5:
                    counts[actual.category_id]["tp"] += 1
                    counts[actual.category_id]["iou"] += both / union
                    matched_truth.add(actual.id)
                    matched_prediction.add(guess.id)
        for actual in truth_segments:
            if actual.id not in matched_truth and not actual.is_crowd:
                counts[actual.category_id]["fn"] += 1
        for guess in predicted_segments:
            crowds = [s.id for s in truth_segments if s.is_crowd and s.category_id == guess.category_id]
            spared_ids = {0, *crowds[-1:]}
            own = [truth[y][x] for y, x in pixels if predicted[y][x] == guess.id]
            spared = sum(value in spared_ids for value in own)
            if guess.id not in matched_prediction and not spared / len(own) > 0.5:
                counts[guess.category_id]["fp"] += 1
    return dict(counts)
