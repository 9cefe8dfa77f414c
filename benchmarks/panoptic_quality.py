"""Time panoptic quality against what Pillow needs to decode the same PNGs.

    python benchmarks/panoptic_quality.py FOLDER [--repeats 9] [--output results.json]

FOLDER holds the speed set: 200 made-up pairs of 640 x 480 pixels, as `gt.json`, `gt/`, `pred.json`, `pred/`. The result is
compared with that of the official evaluator first; a wrong one gets no time. The ways take turns, and medians are compared,
so that other load on the machine meets all of them alike.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from axial_deeplab.data.files import write_json
from axial_deeplab.data.panoptic_json import read_panoptic_json
from axial_deeplab.data.panoptic_png import read_ids
from axial_deeplab.metrics.panoptic_quality import PanopticQuality, PanopticReport, compute_panoptic_quality

# Of panopticapi on the speed set.
EXPECTED = {
    "All": {"pq": 0.6928277057641952, "sq": 0.8163532530867897, "rq": 0.8426520767957234, "n": 133},
    "Things": {"pq": 0.5788219650594398, "sq": 0.780318799913035, "rq": 0.7428293675279625, "n": 80},
    "Stuff": {"pq": 0.8649118426770332, "sq": 0.8707448805188726, "rq": 0.9933278643697018, "n": 53},
}
EXPECTED_COUNTS = {"tp": 2503, "fp": 524, "fn": 545}


def main() -> int:
    """Check, time and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    ways = _list_ways(arguments.folder)
    for name in ("from files", "from memory"):
        if wrong := _find_errors(ways[name]()):
            print(f"{name}: {wrong} differs from the official evaluator; nothing is timed", file=sys.stderr)
            return 1
    seconds = _time_in_turns(ways, arguments.repeats)
    decode = statistics.median(seconds["decode"])
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:12} {median:.3f} s  {median / decode:.2f} x decode")
    if arguments.output:
        machine = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "date": time.strftime("%Y-%m-%d"),
        }
        ratios = {name: round(median / decode, 3) for name, median in medians.items()}
        write_json(arguments.output, machine | {"seconds": medians, "ratio_to_decode": ratios}, indent=2)
    return 0


def _list_ways(folder: Path) -> dict[str, Callable]:
    """Return what is timed: decoding alone, scoring from files, scoring maps in memory."""
    truth = read_panoptic_json(folder / "gt.json")
    predictions = read_panoptic_json(folder / "pred.json", categories=truth.categories)
    pairs = [(annotation, predictions.annotations[image_id]) for image_id, annotation in truth.annotations.items()]
    paths = [
        folder / name / entry.file_name for pair in pairs for name, entry in zip(("gt", "pred"), pair, strict=True)
    ]
    loaded = [(read_ids(folder / "gt" / a.file_name), read_ids(folder / "pred" / b.file_name)) for a, b in pairs]

    def decode() -> None:
        for path in paths:
            with Image.open(path) as image:
                image.load()

    def score_memory() -> PanopticReport:
        metric = PanopticQuality(truth.categories)
        for (actual, guess), (truth_map, predicted_map) in zip(pairs, loaded, strict=True):
            metric.update(truth_map, actual.segments, predicted_map, guess.segments)
        return metric.compute()

    return {
        "decode": decode,
        "from files": lambda: compute_panoptic_quality(folder / "gt.json", folder / "pred.json"),
        "from memory": score_memory,
    }


def _find_errors(report: PanopticReport) -> list[str]:
    """Return what differs from the expected numbers."""
    measured = report.to_json()
    counts = {key: sum(quality[key] for quality in measured["per_class"].values()) for key in EXPECTED_COUNTS}
    wrong = [key for key in EXPECTED_COUNTS if counts[key] != EXPECTED_COUNTS[key]]
    for group, figures in EXPECTED.items():
        wrong += [f"{group} {key}" for key, value in figures.items() if abs(measured[group][key] - value) > 1e-12]
    return wrong


def _time_in_turns(ways: dict[str, Callable], repeats: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
