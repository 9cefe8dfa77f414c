"""Multi-scale and mirrored inference of one image, pixel by pixel in float64: slow, plain, for comparison only."""

from collections.abc import Callable, Sequence

import numpy as np

Heads = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Logits [class, height, width], heatmap [height, width], offsets [2, height, width] in (y, x)."""


def resize_slowly(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize [channel, height, width] bilinearly, corner centers on corner centers."""
    old_height, old_width = values.shape[1:]
    result = np.zeros((len(values), height, width))
    for y, x in np.ndindex(height, width):
        row = y * (old_height - 1) / (height - 1)
        column = x * (old_width - 1) / (width - 1)
        top, left = min(int(row), old_height - 2), min(int(column), old_width - 2)
        down, right = row - top, column - left
        result[:, y, x] = (
            values[:, top, left] * (1 - down) * (1 - right)
            + values[:, top, left + 1] * (1 - down) * right
            + values[:, top + 1, left] * down * (1 - right)
            + values[:, top + 1, left + 1] * down * right
        )
    return result


def infer_slowly(
    run: Callable[[np.ndarray], Heads], image: np.ndarray, scales: Sequence[float], *, flip: bool
) -> Heads:
    """Return mean probabilities, heatmap and offsets of an image [channel, height, width], sides of at least 2."""
    height, width = image.shape[1:]
    answers = []
    for scale in scales:
        sides = [int((side - 1) * scale + 1) for side in (height, width)]
        scaled = resize_slowly(image, *sides)
        for mirrored in (False, True)[: 1 + flip]:
            logits, heatmap, offset = run(scaled[:, :, ::-1] if mirrored else scaled)
            if mirrored:
                logits, heatmap, offset = logits[:, :, ::-1], heatmap[:, ::-1], offset[:, :, ::-1].copy()
                offset[1] = -offset[1]
            offset = resize_slowly(offset, height, width)
            offset[0] *= (height - 1) / (sides[0] - 1)
            offset[1] *= (width - 1) / (sides[1] - 1)
            power = np.exp(resize_slowly(logits, height, width))
            answers.append((power / power.sum(0), resize_slowly(heatmap[None], height, width)[0], offset))
    return tuple(np.mean(parts, axis=0) for parts in zip(*answers, strict=True))  # type: ignore[return-value]
