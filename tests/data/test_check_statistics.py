"""The statistics of `dataset check` against plain loops."""

from collections import Counter

import numpy as np
import pytest
import torch

from axial_deeplab.data.check.regions import find_neighbor_distances, measure_regions
from axial_deeplab.data.check.report import format_statistics, summarize
from axial_deeplab.data.check.statistics import Statistics, find_percentile
from axial_deeplab.data.transforms import measure_segments
from axial_deeplab.panoptic.targets import encode_targets
from axial_deeplab.records import PanopticRecord, Segment
from tests.data.check_sources import CATEGORIES, IDS, make_map


@pytest.mark.parametrize("seed", range(5))
def test_regions_are_those_of_loops_over_pixels(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 6, (7, 9)).repeat(3, 0).repeat(2, 1).astype(np.int32)
    regions = measure_regions(ids)
    assert regions.id.tolist() == np.unique(ids).tolist()
    for position, number in enumerate(regions.id):
        y, x = np.nonzero(ids == number)
        center = np.rint(y.mean()), np.rint(x.mean())
        assert regions.area[position] == len(y)
        assert (regions.height[position], regions.width[position]) == (np.ptp(y) + 1, np.ptp(x) + 1)
        assert regions.center[position].tolist() == list(center)
        distance = (np.abs(y - center[0]) + np.abs(x - center[1])).sum() / 2
        assert regions.distance[position] == pytest.approx(distance)


def test_centers_and_distances_are_those_of_the_targets() -> None:
    ids = np.random.default_rng(3).integers(1, 9, (6, 8)).repeat(4, 0).repeat(3, 1).astype(np.int32)
    regions = measure_regions(ids)
    targets = encode_targets(torch.zeros(1, *ids.shape, dtype=torch.long), torch.from_numpy(ids)[None])
    assert regions.distance.sum() == pytest.approx(float(targets.offset.abs().sum()) / 2)
    assert all(targets.center_heatmap[0, y, x] == 1 for y, x in regions.center)


@pytest.mark.parametrize("rows_at_once", [1, 7, 100])
def test_neighbors(rows_at_once: int) -> None:
    center = np.random.default_rng(1).integers(0, 100, (30, 2))
    expected = [min(max(abs(a - b)) for j, b in enumerate(center) if j != i) for i, a in enumerate(center)]
    assert find_neighbor_distances(center, rows_at_once).tolist() == expected
    assert find_neighbor_distances(center[:1]).size == 0


def test_percentiles_do_not_lie_between_values() -> None:
    counts = Counter([3] * 5 + [10] * 4 + [200])
    assert [find_percentile(counts, percent) for percent in (1, 50, 51, 90, 91)] == [3, 3, 10, 10, 200]
    assert find_percentile(Counter(), 50) == 0


def test_counts_of_one_image() -> None:
    statistics = Statistics(CATEGORIES)
    ids = make_map()
    segments = [
        Segment(IDS["cell 1"], 0, True),
        Segment(IDS["cell 2"], 0, True, is_crowd=True),
        Segment(IDS["glass"], 1, False),
        Segment(IDS["dirt"], 2, False),
    ]
    panoptic_map = torch.from_numpy(ids)
    image = torch.arange(3, dtype=torch.uint8)[:, None, None].expand(3, *ids.shape) * 85
    record = PanopticRecord(image, panoptic_map, tuple(measure_segments(panoptic_map, segments)), 1, "1.png")
    statistics.add(record, measure_regions(ids))
    summary = summarize(statistics)
    assert (summary["images"], summary["objects"], summary["crowd_segments"]) == (1, 1, 1)
    assert summary["crowd_share"] == pytest.approx(36 / ids.size)
    assert summary["void_share"] == pytest.approx(4 / ids.size)
    assert [row["segments"] for row in summary["classes"]] == [2, 1, 1]
    assert summary["classes"][2]["share"] == pytest.approx(0.1)
    assert (summary["object_height"]["50"], summary["object_width"]["50"]) == (8, 10)
    assert summary["object_size"]["50"] == 8.9  # 80 pixels
    assert summary["mean"] == pytest.approx([0, 1 / 3, 2 / 3])
    assert summary["std"] == pytest.approx([0, 0, 0])
    text = "\n".join(format_statistics(statistics))
    assert "cell   thing       1         2       1    6.04%" in text
    twice = Statistics(CATEGORIES)
    twice.merge(statistics)
    twice.merge(statistics)
    assert twice.class_pixels[2] == 2 * statistics.class_pixels[2]
    assert twice.sizes[1].total() == 2
    assert summarize(twice)["classes"][2]["share"] == pytest.approx(0.1)


def test_memory_does_not_grow_with_images() -> None:
    """Counts of the same image a hundred times have as many entries as after once."""
    statistics = Statistics(CATEGORIES)
    ids = make_map()
    panoptic_map = torch.from_numpy(ids)
    listed = [Segment(IDS["cell 1"], 0, True), Segment(IDS["cell 2"], 0, True), Segment(IDS["glass"], 1, False)]
    segments = tuple(measure_segments(panoptic_map, [*listed, Segment(IDS["dirt"], 2, False)]))
    record = PanopticRecord(torch.zeros(3, *ids.shape, dtype=torch.uint8), panoptic_map, segments, 1, "1.png")

    def count_entries() -> int:
        counters = [value for value in vars(statistics).values() if isinstance(value, Counter)]
        return sum(map(len, [*counters, *statistics.sizes]))

    statistics.add(record, measure_regions(ids))
    once = count_entries()
    for _ in range(99):
        statistics.add(record, measure_regions(ids))
    assert count_entries() == once
    assert statistics.images == 100
