"""What is in a data set, in counts whose size does not depend on the number of images."""

from collections import Counter
from dataclasses import dataclass, field, fields

import numpy as np

from axial_deeplab.data.check.regions import Regions, find_neighbor_distances
from axial_deeplab.records import VOID_ID, Category, PanopticRecord, Segment

SIZES_PER_PIXEL = 10
"""int: Sizes, square roots of areas, are counted in steps of a tenth of a pixel."""


def find_percentile(counts: Counter[int], percent: float) -> int:
    """Return the smallest value that at least `percent` percent of the counted values do not exceed; 0 if there is none."""
    reached, wanted = 0, counts.total() * percent / 100
    for value in sorted(counts):
        reached += counts[value]
        if reached >= wanted:
            return value
    return 0


@dataclass
class Statistics:
    """Counts over images; those of parts add up.

    Objects are segments of thing classes that are not crowd. All lists by class have one entry for each contiguous class.

    Attributes:
        categories: The classes.
        images: Number of images.
        heights: Images by height in pixels.
        widths: Images by width.
        void: Pixels without a segment.
        objects: Images by number of objects.
        class_images: Images that have the class.
        class_segments: Segments of the class, crowd too.
        class_crowds: Crowd segments of the class.
        class_pixels: Pixels of the class, crowd too.
        crowd_pixels: Pixels of crowd segments.
        object_pixels: Pixels of objects.
        sizes: Segments that are not crowd by class and size, in steps of 1 / SIZES_PER_PIXEL pixels.
        object_heights: Objects by height of their box.
        object_widths: Objects by width of their box.
        neighbors: Objects by distance of their center to that of the nearest other object; see `find_neighbor_distances`.
        offset_sum: Sum over the pixels of objects of the mean of |dy| and |dx| to their center.
        levels: int64 [3, 256], pixels by channel (R, G, B) and value.
    """

    categories: tuple[Category, ...]
    images: int = 0
    heights: Counter[int] = field(default_factory=Counter)
    widths: Counter[int] = field(default_factory=Counter)
    void: int = 0
    objects: Counter[int] = field(default_factory=Counter)
    class_images: Counter[int] = field(default_factory=Counter)
    class_segments: Counter[int] = field(default_factory=Counter)
    class_crowds: Counter[int] = field(default_factory=Counter)
    class_pixels: Counter[int] = field(default_factory=Counter)
    crowd_pixels: int = 0
    object_pixels: int = 0
    sizes: list[Counter[int]] = field(default_factory=list)
    object_heights: Counter[int] = field(default_factory=Counter)
    object_widths: Counter[int] = field(default_factory=Counter)
    neighbors: Counter[int] = field(default_factory=Counter)
    offset_sum: float = 0.0
    levels: np.ndarray = field(default_factory=lambda: np.zeros((3, 256), np.int64))

    def __post_init__(self) -> None:
        """Make one counter of sizes for each class."""
        self.sizes = self.sizes or [Counter() for _ in self.categories]

    def add(self, record: PanopticRecord, regions: Regions) -> None:
        """Count one image.

        Args:
            record: The image, its map and its segments; each segment has a pixel.
            regions: The measures of its map.
        """
        row = {number: position for position, number in enumerate(regions.id.tolist())}
        height, width = record.panoptic_map.shape
        self.images += 1
        self.heights[height] += 1
        self.widths[width] += 1
        self.void += int(regions.area[row[VOID_ID]]) if VOID_ID in row else 0
        self.class_images.update({segment.category_id for segment in record.segments})
        for segment in record.segments:
            self._count_segment(segment, int(regions.area[row[segment.id]]))
        objects = [row[s.id] for s in record.segments if s.is_thing and not s.is_crowd]
        self.objects[len(objects)] += 1
        self.object_heights.update(regions.height[objects].tolist())
        self.object_widths.update(regions.width[objects].tolist())
        self.neighbors.update(find_neighbor_distances(regions.center[objects]).tolist())
        self.object_pixels += int(regions.area[objects].sum())
        self.offset_sum += float(regions.distance[objects].sum())
        self.levels += [np.bincount(channel.reshape(-1), minlength=256) for channel in record.image.numpy()]

    def merge(self, other: "Statistics") -> None:
        """Add the counts of other images of the same set."""
        for name in (item.name for item in fields(self) if item.name not in ("categories", "sizes")):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.sizes = [own + more for own, more in zip(self.sizes, other.sizes, strict=True)]

    @property
    def pixels(self) -> int:
        """All pixels of all images."""
        return int(self.levels[0].sum())

    @property
    def object_sizes(self) -> Counter[int]:
        """Objects by size, in steps of 1 / SIZES_PER_PIXEL pixels."""
        pairs = zip(self.categories, self.sizes, strict=True)
        return sum((sizes for category, sizes in pairs if category.is_thing), Counter[int]())

    def measure_colors(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation over all pixels of R, G and B, in units of 0..1."""
        values = np.arange(256) / 255
        share = self.levels / np.maximum(self.levels.sum(axis=1, keepdims=True), 1)
        mean = share @ values
        deviation = np.sqrt(np.maximum(share @ values**2 - mean**2, 0))
        return tuple(mean.tolist()), tuple(deviation.tolist())

    def _count_segment(self, segment: Segment, area: int) -> None:
        self.class_segments[segment.category_id] += 1
        self.class_pixels[segment.category_id] += area
        if segment.is_crowd:
            self.class_crowds[segment.category_id] += 1
            self.crowd_pixels += area
        else:
            self.sizes[segment.category_id][int(area**0.5 * SIZES_PER_PIXEL)] += 1
