"""The precision-recall curve of ranked predictions, as the Cityscapes benchmark draws it."""

import math

import numpy as np

IGNORED, WRONG, RIGHT = 0, 1, 2  # verdicts on a prediction


def measure_precision(scores: np.ndarray, verdicts: np.ndarray, num_truth: int) -> float:
    """Return the area under the precision-recall curve of one class at one threshold.

    Args:
        scores: Float [prediction].
        verdicts: For each prediction `IGNORED`, `WRONG` or `RIGHT`.
        num_truth: How many instances there were to find. NaN is returned for 0.
    """
    if num_truth == 0:
        return math.nan
    counted = verdicts != IGNORED
    order = np.argsort(-scores[counted], kind="stable")
    ranked = scores[counted][order]
    hits = np.cumsum(verdicts[counted][order] == RIGHT)
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))[: len(ranked)]  # equal scores are one point
    precision = np.concatenate(([1.0], hits[last] / (last + 1)))
    recall = np.concatenate(([0.0], hits[last] / num_truth))
    return float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2))
