"""Random street scenes with predictions, in the form of the Cityscapes benchmark: made of NumPy alone, alike everywhere.

The stream of `np.random.RandomState` is frozen by NumPy, so a seed stands for the same scene in any environment; the
official evaluators were run on these scenes by `tools/record_evaluators.py`.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

THINGS = (24, 25, 26, 27, 28, 31, 32, 33)
STUFF = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23)
NOT_SCORED = (1, 3, 4, 9, 14, 18)
HEIGHT, WIDTH = 96, 144


class Scene(NamedTuple):
    """One image: its truth, and what a careless network says of it."""

    instance_ids: np.ndarray  # int32 [height, width], 1000 * label + n for things, else the label
    predicted_labels: np.ndarray  # uint8 [height, width], labels, 0 where void
    instances: list[tuple[int, float, np.ndarray]]  # label, score, mask: bool [height, width]; masks overlap

    @property
    def labels(self) -> np.ndarray:
        """Return the label of each pixel, uint8 [height, width]."""
        ids = self.instance_ids
        return np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)


def make_scenes(count: int, first_seed: int) -> list[Scene]:
    """Make `count` scenes, the seed of each one more than that of the one before."""
    return [make_scene(first_seed + number) for number in range(count)]


def make_scene(seed: int) -> Scene:
    """Make a scene: bands of stuff, things of all sizes, groups, void, labels that are not scored."""
    random = np.random.RandomState(seed)
    ids = np.repeat(np.array(STUFF)[random.randint(len(STUFF), size=8)], HEIGHT // 8)[:, None].repeat(WIDTH, 1)
    ids = ids.astype(np.int32)
    labels = THINGS[: 3 + seed % 6]  # some classes are rare
    for number in range(random.randint(4, 14)):
        _draw(ids, random, 1000 * labels[random.randint(len(labels))] + number)
    for _ in range(random.randint(3)):
        _draw(ids, random, labels[random.randint(len(labels))])  # a group
    for _ in range(random.randint(3)):
        _draw(ids, random, NOT_SCORED[random.randint(len(NOT_SCORED))])
    for number in range(random.randint(2)):
        _draw(ids, random, 29000 + number)
    if seed % 3 == 0:
        ids[4:14, 4:14], ids[20:29, 4:15] = 26900, 24901  # 100 pixels and 99
    corner = _place_border_cases(ids) if seed % 2 == 0 else []
    return Scene(ids, _predict_labels(ids, random), _predict_instances(ids, random) + corner)


def digest(scenes: Sequence[Scene]) -> str:
    """Return a hash of everything in the scenes."""
    total = hashlib.sha256()
    for scene in scenes:
        total.update(scene.instance_ids.tobytes() + scene.predicted_labels.tobytes())
        for label, score, mask in scene.instances:
            total.update(f"{label} {score!r}".encode() + mask.tobytes())
    return total.hexdigest()


def _place_border_cases(ids: np.ndarray) -> list[tuple[int, float, np.ndarray]]:
    """Paint what rules disagree about, and return the bicycles, which are rare here, that a network sees in it."""
    ids[60:72, :40] = 7
    ids[60:66, :10] = 33  # a group of 60 pixels
    ids[60:70, 20:25] = 0
    ids[60:70, 32:40] = 29950  # of a label that is not scored
    masks = np.zeros((3, HEIGHT, WIDTH), bool)
    masks[0, 60:70, 5:15] = True  # 30 of 100 pixels on the group
    masks[1, 60:70, 20:30] = True  # one half on void
    masks[2, 60:70, 32:40] = True
    return [(33, 0.7, masks[0]), (33, 0.6, masks[1]), (33, 0.65, masks[2])]


def _draw(ids: np.ndarray, random: np.random.RandomState, value: int) -> None:
    """Paint an ellipse or a rectangle."""
    y, x = random.randint(HEIGHT), random.randint(WIDTH)
    height, width = random.randint(3, 24), random.randint(3, 30)
    dy, dx = np.ogrid[:HEIGHT, :WIDTH]
    dy, dx = abs(dy - y) / height, abs(dx - x) / width
    ids[(dy * dy + dx * dx < 1) if random.randint(2) else (np.maximum(dy, dx) < 0.8)] = value


def _shift(values: np.ndarray, random: np.random.RandomState, reach: int) -> np.ndarray:
    step = random.randint(-reach, reach + 1, size=2)
    return np.roll(values, tuple(step), (0, 1))


def _predict_labels(ids: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    labels = np.where(ids >= 1000, ids // 1000, ids)
    known = np.array([0, *STUFF, *THINGS])
    guess = np.where(np.isin(labels, known), labels, known[random.randint(len(known))])
    guess = _shift(guess, random, 3)
    for _ in range(6):
        _draw(guess, random, int(known[random.randint(len(known))]))
    return guess.astype(np.uint8)


def _predict_instances(ids: np.ndarray, random: np.random.RandomState) -> list[tuple[int, float, np.ndarray]]:
    """Say the true things once or twice, shifted or cut, with some wrong classes, and invent others."""
    found = []
    for value in np.unique(ids[ids >= 24]):
        label = int(value) // 1000 or int(value)
        if label not in THINGS or random.rand() < 0.1:
            label = THINGS[random.randint(len(THINGS))]
        for _ in range(random.randint(1, 4)):
            mask = _shift(ids == value, random, random.randint(5))
            if random.rand() < 0.3:
                mask = mask & (random.rand(HEIGHT, WIDTH) < 0.8)
            found.append((label, random.randint(1, 33) / 32, mask))  # equal scores occur
    for _ in range(random.randint(6)):
        canvas = np.zeros((HEIGHT, WIDTH), np.int32)
        _draw(canvas, random, 1)
        found.append((THINGS[random.randint(len(THINGS))], random.rand(), canvas == 1))
    for value in np.unique(ids[ids < 24])[:2]:
        found.append((THINGS[random.randint(3)], random.rand(), ids == value))  # over void, perhaps
    return found
