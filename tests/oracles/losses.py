"""The three losses of one image, pixel by pixel in float64: slow, plain, for comparison only."""

import math

import numpy as np

IGNORE = 255


def average_losing(pixel_losses: list[float]) -> float:
    """Return the mean over the losses that are not zero, 0 if all are."""
    losing = [loss for loss in pixel_losses if loss != 0]
    return sum(losing) / len(losing) if losing else 0.0


def compute_semantic_loss(logits: np.ndarray, labels: np.ndarray, weight: np.ndarray, top_k: float) -> float:
    """Return the mean of the hardest cross-entropies of one image; logits [class, height, width]."""
    losses = []
    for y, x in np.ndindex(labels.shape):
        if labels[y, x] == IGNORE:
            losses.append(0.0)
            continue
        values = [float(value) for value in logits[:, y, x]]
        largest = max(values)
        normalizer = largest + math.log(sum(math.exp(value - largest) for value in values))
        losses.append(float(weight[y, x]) * (normalizer - values[labels[y, x]]))
    return average_losing(sorted(losses, reverse=True)[: round(top_k * len(losses))])


def compute_center_loss(heatmap: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Return the mean squared error of one image [height, width]."""
    return average_losing(
        [float(weight[at]) * (float(heatmap[at]) - float(target[at])) ** 2 for at in np.ndindex(target.shape)]
    )


def compute_offset_loss(offset: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Return the mean absolute error of one image [2, height, width], averaged over y and x."""
    losses = []
    for y, x in np.ndindex(weight.shape):
        error = sum(abs(float(offset[axis, y, x]) - float(target[axis, y, x])) for axis in (0, 1)) / 2
        losses.append(float(weight[y, x]) * error)
    return average_losing(losses)
