"""Look through all splits of a data set once, in one process or several."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch

from axial_deeplab.data.check.problems import Problem, ProblemList
from axial_deeplab.data.check.regions import measure_regions
from axial_deeplab.data.check.split import CheckedSplit, DataSource
from axial_deeplab.data.check.statistics import Statistics
from axial_deeplab.errors import InputError

CHUNK = 16
"""int: Images that a process takes at a time."""

T = TypeVar("T")
Progress = Callable[[int, int], None]
_work: tuple[CheckedSplit, Callable] | None = None  # of a worker process


@dataclass
class DatasetCheck:
    """What is wrong with a data set, and what is in each of its splits that could be used.

    Attributes:
        problems: Over all splits.
        splits: The usable splits by name.
        statistics: The counts of each of them.
    """

    problems: ProblemList
    splits: dict[str, CheckedSplit] = field(default_factory=dict)
    statistics: dict[str, Statistics] = field(default_factory=dict)


class _ChunkResult(NamedTuple):
    problems: ProblemList
    statistics: Statistics
    fingerprints: list[tuple[int, bytes]]  # position of the image, of images that could be read


def check_dataset(
    source: DataSource,
    splits: Sequence[str] = ("train", "val"),
    *,
    workers: int = 0,
    limit: int = 20,
    progress: Progress | None = None,
) -> DatasetCheck:
    """Read every image of the splits with its labels, name all problems and count what is there.

    Memory holds the lists of the splits, counts, and eight bytes an image by which equal images are found.

    Args:
        source: Where the data set is.
        splits: Names of the splits.
        workers: Processes besides this one; 0 works in this one.
        limit: Problems of a kind to keep; the others are counted.
        progress: Called with the number of images done and to do in a split.
    """
    result = DatasetCheck(ProblemList(limit))
    seen: dict[bytes, tuple[str, int]] = {}
    for name in splits:
        try:
            split = CheckedSplit(source, name)
        except InputError as error:
            result.problems.extend([Problem("unusable-split", source.root, str(error))])
            continue
        result.splits[name], result.statistics[name] = split, Statistics(split.index.categories)
        result.problems.extend(split.problems)
        done = 0
        for part in map_chunks(split, _CheckChunk(limit), range(len(split)), workers):
            result.problems.merge(part.problems)
            result.statistics[name].merge(part.statistics)
            result.problems.extend(_find_repeated(part.fingerprints, split, result.splits, seen))
            done = min(done + CHUNK, len(split))
            if progress is not None:
                progress(done, len(split))
        result.problems.extend(_find_absent_classes(split, result.statistics[name]))
    result.problems.extend(_compare_classes(list(result.splits.values())))
    return result


def map_chunks(
    split: CheckedSplit, function: Callable[[CheckedSplit, Sequence[int]], T], positions: Sequence[int], workers: int
) -> Iterator[T]:
    """Yield `function(split, chunk)` for consecutive chunks of positions, in their order, perhaps from other processes."""
    chunks = [positions[first : first + CHUNK] for first in range(0, len(positions), CHUNK)]
    if not workers or len(chunks) < 2:
        yield from (function(split, chunk) for chunk in chunks)
        return
    # Spawned, not forked: the threads of this process would be missing in a copy of it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(chunks)), context, initializer=_start_worker, initargs=(split, function)
    ) as pool:
        yield from pool.map(_run_in_worker, chunks)


class _CheckChunk:
    """Check some images: a function that travels to other processes with its argument."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def __call__(self, split: CheckedSplit, positions: Sequence[int]) -> _ChunkResult:
        result = _ChunkResult(ProblemList(self.limit), Statistics(split.index.categories), [])
        for position in positions:
            checked = split.check(position)
            result.problems.extend(checked.problems)
            if checked.record is not None:
                result.statistics.add(checked.record, measure_regions(checked.record.panoptic_map.numpy()))
                result.fingerprints.append((position, checked.fingerprint))
        return result


def _start_worker(split: CheckedSplit, function: Callable) -> None:
    global _work
    torch.set_num_threads(1)
    _work = split, function


def _run_in_worker(positions: Sequence[int]) -> Any:
    assert _work is not None
    split, function = _work
    return function(split, positions)


def _find_repeated(
    fingerprints: Sequence[tuple[int, bytes]],
    split: CheckedSplit,
    splits: dict[str, CheckedSplit],
    seen: dict[bytes, tuple[str, int]],
) -> list[Problem]:
    """Report images whose pixels were seen before, and remember the others in `seen`."""
    problems = []
    for position, fingerprint in fingerprints:
        name, first = seen.setdefault(fingerprint, (split.name, position))
        if (name, first) == (split.name, position):
            continue
        kind = "repeated-image" if name == split.name else "shared-image"
        message = f"has the pixels of {splits[name].name_image(first)}"
        image_id = split.index.images[position].image_id
        problems.append(Problem(kind, split.name_image(position), message, image_id))
    return problems


def _find_absent_classes(split: CheckedSplit, statistics: Statistics) -> list[Problem]:
    file = str(split.index.paths.annotations)
    return [
        Problem("absent-class", file, f"{category.name} (category {category.id}) has no pixel in {split.name}")
        for position, category in enumerate(split.index.categories)
        if not statistics.class_pixels[position]
    ]


def _compare_classes(splits: Sequence[CheckedSplit]) -> list[Problem]:
    """Report splits whose classes are not those of the first one, which training refuses."""
    problems = []
    for split in splits[1:]:
        if split.index.categories != splits[0].index.categories:
            differing = set(split.index.categories) ^ set(splits[0].index.categories)
            names = ", ".join(sorted({category.name for category in differing})[:5]) or "their order"
            message = f"the splits {splits[0].name} and {split.name} differ in {names}"
            problems.append(Problem("differing-classes", str(split.index.paths.annotations), message))
    return problems
