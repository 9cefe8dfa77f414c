"""Time scoring in one and two processes against what Pillow needs to decode the same PNGs, and watch the memory of evaluation.

    python benchmarks/scoring.py speed FOLDER [--times 5] [--repeats 3]
    python benchmarks/scoring.py memory [--images 5000] [--size 128] [--processes 1] [--tasks ...]

FOLDER holds the speed set of `benchmarks/panoptic_quality.py`; each of its pairs is scored `--times` times over, so that the
start of processes weighs as little as on a full validation set. Ways take turns and medians are compared. The memory run
evaluates procedural scenes with a predictor that shifts the truth.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from axial_deeplab.checkpoints.load import CheckpointConfig
from axial_deeplab.data.scenes import SCENE_CATEGORIES, SceneDataset, make_scene
from axial_deeplab.evaluate import evaluate_tasks
from axial_deeplab.metrics.score_files import score_files
from axial_deeplab.records import PanopticPrediction

TASKS = {"panoptic": ["panoptic"], "panoptic semantic": ["panoptic", "semantic"], "all three": None}


def main() -> None:
    """Run one of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("folder", type=Path)
    speed.add_argument("--times", type=int, default=5)
    speed.add_argument("--repeats", type=int, default=3)
    memory = commands.add_parser("memory")
    memory.add_argument("--images", type=int, default=5000)
    memory.add_argument("--size", type=int, default=128)
    memory.add_argument("--processes", type=int, default=1)
    memory.add_argument("--tasks", nargs="+")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.command == "speed":
            measure_speed(arguments.folder, Path(temporary), arguments.times, arguments.repeats)
        else:
            measure_memory(arguments, Path(temporary))


def measure_speed(folder: Path, work: Path, times: int, repeats: int) -> None:
    """Print medians and their ratios to decoding; fail unless both numbers of processes give the same report."""
    paths = [_multiply(folder / f"{name}.json", work, times) for name in ("gt", "pred")]
    pngs = [
        path.with_suffix("") / entry["file_name"]
        for path in paths
        for entry in json.loads(path.read_text())["annotations"]
    ]
    ways: dict[str, Callable] = {"decode": partial(_decode, pngs)}
    for name, tasks in TASKS.items():
        reports = []
        for processes in (1, 2):
            ways[f"{name}, {processes}"] = partial(score_files, *paths, tasks=tasks, processes=processes)
            reports.append(json.dumps(ways[f"{name}, {processes}"]().to_json()))
        assert reports[0] == reports[1], name
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    decode = statistics.median(seconds["decode"])
    print(f"{len(pngs)} PNGs; tasks, processes")
    for name, measured in seconds.items():
        median = statistics.median(measured)
        print(f"{name:22} {median:7.2f} s  {median / decode:.2f} x decode")


def _multiply(path: Path, work: Path, times: int) -> Path:
    """Write a JSON that names each PNG several times, and scores where there are none."""
    content = json.loads(path.read_text())
    random = np.random.default_rng(0)
    annotations = []
    for number in range(times):
        for entry in content["annotations"]:
            segments = [{**segment, "score": float(random.random())} for segment in entry["segments_info"]]
            annotations.append(entry | {"image_id": f"{entry['image_id']}_{number}", "segments_info": segments})
    target = work / path.name
    target.write_text(json.dumps(content | {"annotations": annotations, "images": []}))
    target.with_suffix("").symlink_to(path.with_suffix("").resolve())
    return target


def _decode(paths: list[Path]) -> None:
    for path in paths:
        with Image.open(path) as image:
            image.load()


class ShiftedTruth:
    """A predictor that gives the truth of the scenes in their order, two pixels off."""

    categories = SCENE_CATEGORIES

    def __init__(self, size: int) -> None:
        self.config = CheckpointConfig("none", SCENE_CATEGORIES, preprocess={})
        self.size, self.calls, self.start = size, 0, time.perf_counter()

    def __call__(self, image: np.ndarray) -> PanopticPrediction:
        """Predict the next scene; every thousandth time print the memory."""
        if self.calls % 1000 == 0:
            print(
                f"{self.calls:6} images  {_read_memory():6.1f} MiB  {time.perf_counter() - self.start:6.1f} s",
                flush=True,
            )
        record = make_scene(self.calls, self.size)
        self.calls += 1
        shifted = torch.roll(record.panoptic_map, 2, 1)
        return PanopticPrediction(shifted, [s._replace(score=1 / (1 + s.id % 7)) for s in record.segments])


def measure_memory(options: argparse.Namespace, work: Path) -> None:
    """Evaluate scenes and print the resident memory of this process as it goes."""
    predictor, scenes = ShiftedTruth(options.size), SceneDataset(options.images, size=options.size)
    report = evaluate_tasks(predictor, scenes, work, tasks=options.tasks, processes=options.processes)  # type: ignore[arg-type]
    print(f"{options.images:6} images  {_read_memory():6.1f} MiB\n{report.format_table()}")


def _read_memory() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
