"""Procedural scenes with exact truth: sky, field and water with disks, boxes and stars in front of them.

Nothing is downloaded and the label of every pixel is known, which makes the scenes good for demonstrations, tests and a
first training run. Colors are drawn at random, so a class shows itself by its shape and texture (things) or by its place and
texture (stuff).
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticRecord, Segment

SCENE_CATEGORIES: tuple[Category, ...] = (
    Category(0, "sky", False, (86, 180, 233)),
    Category(1, "field", False, (0, 158, 115)),
    Category(2, "water", False, (0, 114, 178)),
    Category(3, "disk", True, (230, 159, 0)),
    Category(4, "box", True, (204, 121, 167)),
    Category(5, "star", True, (240, 228, 66)),
)
"""tuple: The classes of the scenes; the colors are Okabe and Ito's, safe for color-blind readers."""

MIN_SIZE = 64
"""int: Smallest side of a scene, in pixels; below it objects become too small to recognize."""

_SKY, _FIELD, _WATER, _DISK, _BOX, _STAR = range(6)
_NUM_STUFF = 3
_MIN_VISIBLE = 12  # pixels; truth with less of a segment would ask for what nobody can see
_SEEDS_PER_DATASET = 1_000_000

_Floats = NDArray[np.float32]
_Ints = NDArray[np.int32]
_Bools = NDArray[np.bool_]


class _Thing(NamedTuple):
    """One object: class, center and radius in pixels, angle in radians, ratio of its sides (boxes only)."""

    category_id: int
    y: int
    x: int
    radius: float
    angle: float
    aspect: float


class SceneDataset(Dataset[PanopticRecord]):
    """A fixed list of scenes; data sets with different seeds have no scene in common."""

    categories = SCENE_CATEGORIES

    def __init__(self, count: int, *, size: int = 128, seed: int = 0) -> None:
        """Describe the data set; a scene is drawn when it is asked for.

        Args:
            count: Number of scenes, at most 1,000,000.
            size: Side of the square images, in pixels.
            seed: Number of the data set, from 0.
        """
        if not 0 <= count <= _SEEDS_PER_DATASET or seed < 0:
            raise InputError(f"need 0 <= count <= {_SEEDS_PER_DATASET:,} and seed >= 0, not {count} and {seed}")
        self.size = size
        self._seeds = range(seed * _SEEDS_PER_DATASET, seed * _SEEDS_PER_DATASET + count)

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: int) -> PanopticRecord:
        return make_scene(self._seeds[index], self.size)


def make_scene(seed: int, size: int = 128) -> PanopticRecord:
    """Draw one scene of 1 to 3 kinds of stuff and 3 to 6 things that may hide parts of each other.

    Args:
        seed: From 0; the scene depends on (seed, size) alone.
        size: Height and width in pixels. Things are 18 to 52 pixels across at 128 and grow in proportion.

    Returns:
        The record. Segment ids are 1 + class for stuff and 4, 5, ... for things from back to front; no pixel is void.
    """
    if size < MIN_SIZE:
        raise InputError(f"a scene needs a side of at least {MIN_SIZE} pixels, not {size}")
    generator = np.random.default_rng((seed, size))
    layers = _draw_layers(size, generator)
    panoptic_map, things = _place_things(size, generator)
    behind = panoptic_map == 0
    areas = np.bincount(layers[behind], minlength=_NUM_STUFF)
    for category_id in np.flatnonzero((areas > 0) & (areas < _MIN_VISIBLE)):
        layers[layers == category_id] = areas.argmax()  # almost hidden: the largest layer is drawn in its place
    panoptic_map = np.where(behind, layers + 1, panoptic_map)
    pixels = _paint(layers, panoptic_map, things, generator)
    return PanopticRecord(
        image=torch.from_numpy(pixels),
        panoptic_map=torch.from_numpy(panoptic_map),
        segments=_list_segments(panoptic_map, things),
        image_id=seed,
        file_name=f"scene_{seed:08d}.png",
    )


def _list_segments(panoptic_map: _Ints, things: list[_Thing]) -> tuple[Segment, ...]:
    """Describe the visible segments, ids ascending."""
    areas = np.bincount(panoptic_map.ravel()).tolist()
    classes = [0, _SKY, _FIELD, _WATER, *(thing.category_id for thing in things)]  # entry 0 stands for void
    return tuple(
        Segment(segment_id, classes[segment_id], SCENE_CATEGORIES[classes[segment_id]].is_thing, area=area)
        for segment_id, area in enumerate(areas)
        if area > 0
    )


def _draw_layers(size: int, generator: np.random.Generator) -> _Ints:
    """Return the class of every pixel behind the things: sky above one or two kinds of ground, wavy borders."""
    rows, columns = (axis / size for axis in np.ogrid[:size, :size])
    first, second = generator.permutation(np.array((_FIELD, _WATER), dtype=np.int32))
    horizon = generator.uniform(0.2, 0.5) if generator.random() < 0.85 else -1.0
    shore = generator.uniform(max(horizon, 0.15) + 0.2, 0.85) if generator.random() < 0.7 else 2.0
    frequencies = np.array([[1], [3], [7]])
    heights = generator.uniform(0.005, 0.05, size=(2, 3, 1)) / frequencies
    waves = (heights * np.sin(frequencies * np.pi * columns + generator.uniform(0, 6.3, size=(2, 3, 1)))).sum(axis=1)
    ground = np.where(rows < shore + waves[0], first, second)
    return np.where(rows < horizon + waves[1], np.int32(_SKY), ground)


def _place_things(size: int, generator: np.random.Generator) -> tuple[_Ints, list[_Thing]]:
    """Lay things over each other, keeping 40% of each in sight; return their ids (0 where none) and the things."""
    rim = int(0.2 * size)  # holds what sticks out of the image, so that nothing needs clipping
    canvas = np.full((size + 2 * rim, size + 2 * rim), -1, dtype=np.int32)
    canvas[rim:-rim, rim:-rim] = 0
    things: list[_Thing] = []
    visible = np.array([size * size, 0, 0, 0])  # pixels in sight, and how many must stay so, by id
    needed = np.zeros_like(visible)
    for _ in range(generator.integers(3, 7)):
        for _ in range(40):
            thing = _draw_thing(size, generator)
            mask = _draw_mask(thing)
            top, left = (rim + center - mask.shape[0] // 2 for center in (thing.y, thing.x))
            patch = canvas[top : top + mask.shape[0], left : left + mask.shape[1]]
            mask &= patch >= 0
            rest = visible - np.bincount(patch[mask], minlength=len(visible))
            area = np.count_nonzero(mask)
            if area >= _MIN_VISIBLE and (rest >= needed).all():
                patch[mask] = len(visible)
                visible, needed = np.append(rest, area), np.append(needed, max(_MIN_VISIBLE, int(0.4 * area)))
                things.append(thing)
                break
    return canvas[rim:-rim, rim:-rim].copy(), things


def _draw_thing(size: int, generator: np.random.Generator) -> _Thing:
    """Draw class, place, size and orientation of a thing whose center lies inside the image."""
    radius = size / 256 * float(np.exp(generator.uniform(np.log(18), np.log(52))))
    y, x = generator.integers(int(0.4 * radius), size - int(0.4 * radius), size=2).tolist()
    category_id = int(generator.integers(_DISK, _STAR + 1))
    return _Thing(category_id, y, x, radius, generator.uniform(0, 2 * np.pi), generator.uniform(0.5, 1))


def _draw_mask(thing: _Thing) -> _Bools:
    """Return which pixels of the square around a thing belong to it."""
    reach = int(np.ceil(thing.radius))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    v, u = _rotate(y, x, thing.angle)
    if thing.category_id == _DISK:
        return np.hypot(u, v) <= thing.radius
    if thing.category_id == _BOX:
        half = thing.radius / np.hypot(1, thing.aspect)
        return (np.abs(u) <= half) & (np.abs(v) <= half * thing.aspect)
    # Fold the five arms onto half of one: its outline is the line from the tip to the notch between two arms.
    arm = np.pi / 5
    turn = np.abs((np.arctan2(v, u) + arm) % (2 * arm) - arm)
    along, across = np.hypot(u, v) * np.cos(turn), np.hypot(u, v) * np.sin(turn)
    notch_x, notch_y = 0.48 * thing.radius * np.cos(arm), 0.48 * thing.radius * np.sin(arm)
    return (thing.radius - along) * notch_y >= across * (thing.radius - notch_x)


def _rotate(y: NDArray, x: NDArray, angle: float) -> tuple[NDArray, NDArray]:
    """Turn coordinates by an angle in radians."""
    return y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)


def _paint(
    layers: _Ints, panoptic_map: _Ints, things: list[_Thing], generator: np.random.Generator
) -> NDArray[np.uint8]:
    """Give every segment color and texture, the scene uneven light and sensor noise; uint8 [3, height, width]."""
    size = layers.shape[0]
    colors = np.array([[110, 105, 70], [160, 130, 120], [205, 65, 150]]) + generator.uniform(-45, 45, size=(3, 3))
    ground = np.where(layers == _FIELD, _paint_grass(size, generator), _paint_ripples(size, generator))
    pixels = np.take(colors.astype(np.float32), layers, axis=1)  # [3, height, width]
    pixels += np.where(layers == _SKY, _paint_sky(size, generator), ground)
    for segment_id, thing in enumerate(things, start=1 + _NUM_STUFF):
        y, x = np.nonzero(panoptic_map == segment_id)
        pixels[:, y, x] = _paint_thing(thing, y, x, generator)
    slope_y, slope_x = generator.uniform(-0.2, 0.2, size=(2, 1)).astype(np.float32)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    pixels *= 1 + slope_y * ramp[:, None] + slope_x * ramp
    pixels += generator.uniform(1, 6) * generator.standard_normal((size, size), dtype=np.float32)
    return pixels.clip(0, 255, out=pixels).astype(np.uint8)


def _paint_sky(size: int, generator: np.random.Generator) -> _Floats:
    """Return the brightness of a smooth vertical gradient with a few soft clouds."""
    rows = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    knots = np.maximum(0, 1 - np.abs(6 * rows - np.arange(7, dtype=np.float32)))  # bilinear between 7 x 7 knots
    heights = generator.uniform(-70, 110, size=(7, 7)).astype(np.float32)
    return 40 * rows + np.maximum(0, knots @ heights @ knots.T)


def _paint_grass(size: int, generator: np.random.Generator) -> _Floats:
    """Return the brightness of short upright blades of grass."""
    noise = generator.standard_normal((size + 4, size), dtype=np.float32)
    blades = noise[:-4] + noise[1:-3] + noise[2:-2] + noise[3:-1] + noise[4:]
    return blades * generator.uniform(9, 14)


def _paint_ripples(size: int, generator: np.random.Generator) -> _Floats:
    """Return the brightness of long level ripples that bend a little."""
    rows, columns = (axis.astype(np.float32) * (128 / size) for axis in np.ogrid[:size, :size])
    bend = 1.5 * np.sin(columns / generator.uniform(6, 12) + rows / generator.uniform(8, 15))
    return 24 * np.sin(rows * (2 * np.pi / generator.uniform(5, 9)) + bend)


def _paint_thing(thing: _Thing, y: NDArray, x: NDArray, generator: np.random.Generator) -> NDArray:
    """Paint the visible pixels of a thing, disks dotted, boxes striped, stars speckled, lit as its shape is; [3, pixel]."""
    y, x = y - thing.y, x - thing.x
    v, u = _rotate(y, x, thing.angle + np.pi / 4)
    wave = 2 * np.pi / (generator.uniform(5, 8) * max(1, thing.radius / 14))
    if thing.category_id == _STAR:
        pattern = generator.normal(size=y.size)
    else:
        pattern = np.sin(wave * u) if thing.category_id == _BOX else np.cos(wave * u) * np.cos(wave * v) - 0.3
    color = generator.uniform(50, 225, size=(3, 1))
    contrast = generator.uniform(20, 80, size=(3, 1)) * np.where(color > 128, -1, 1)
    return (color + contrast * (pattern > 0)) * _shade_thing(thing, y, x)


def _shade_thing(thing: _Thing, y: NDArray, x: NDArray) -> NDArray:
    """Return the light on pixels around the center: disks have a highlight, boxes a bevel, stars two facets an arm."""
    v, u = _rotate(y, x, thing.angle)
    if thing.category_id == _DISK:
        return 1.25 - 0.4 * ((y / thing.radius + 0.35) ** 2 + (x / thing.radius + 0.35) ** 2)
    if thing.category_id == _BOX:
        half = thing.radius / np.hypot(1, thing.aspect)
        return np.where(np.maximum(np.abs(u), np.abs(v) / thing.aspect) > 0.75 * half, 1.25, 0.9)
    return np.where(np.arctan2(v, u) % (2 * np.pi / 5) < np.pi / 5, 1.2, 0.75)
