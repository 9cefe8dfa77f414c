"""Score prediction files on disk, in whatever of the known forms they are.

| truth | predictions | tasks |
| --- | --- | --- |
| COCO panoptic JSON, such as Mapillary Vistas' | COCO panoptic JSON | all three |
| COCO panoptic JSON | COCO results JSON | instance |
| COCO instances JSON | COCO results JSON | instance |
| COCO panoptic JSON | folder of PNGs with the ids of classes | semantic |
| folder of Cityscapes, gtFine/val | folder with `*_pred.txt` | instance |
| folder of Cityscapes, gtFine/val | folder with label PNGs | semantic |
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from axial_deeplab.data.cityscapes_results import find_truth, read_semantic_result
from axial_deeplab.data.coco_results import holds_results, read_instance_results
from axial_deeplab.data.layouts.mapillary import read_truth
from axial_deeplab.data.panoptic_json import Annotation, PanopticJson
from axial_deeplab.data.panoptic_png import read_ids
from axial_deeplab.data.run_lengths import encode_segments
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.coco_average_precision import CocoAveragePrecision
from axial_deeplab.metrics.coco_files import read_instances, score_instances
from axial_deeplab.metrics.error_counts import ErrorCounts, ScoredImage
from axial_deeplab.metrics.mean_iou import MeanIoU
from axial_deeplab.metrics.overlaps import Overlaps, check_sizes, clear_ids, map_ids, measure_overlaps
from axial_deeplab.metrics.pairs import list_pairs
from axial_deeplab.metrics.score_cityscapes import score_street_instances, score_street_semantic
from axial_deeplab.metrics.task_scores import (
    Measure,
    TaskReport,
    TaskScores,
    Things,
    explain_left_out,
    list_tasks,
    measure_files,
)
from axial_deeplab.metrics.workers import Workers
from axial_deeplab.records import IGNORE_LABEL, VOID_ID, Category


def score_files(
    ground_truth: Path | str, predictions: Path | str, *, tasks: Sequence[str] | None = None, processes: int = 1
) -> TaskReport:
    """Score every image of a truth; the figures do not depend on the number of processes.

    Args:
        ground_truth: A JSON file, whose PNGs lie in the folder of its name, or a folder of Cityscapes.
        predictions: As the table above says.
        tasks: Some of "panoptic", "instance" and "semantic"; by default all that the files allow, instances only if
            they have scores.
        processes: How many decode and compare.

    Raises:
        InputError: A file is absent or broken, an image has no prediction, or the files do not hold a task; names it.
    """
    truth_path, path = Path(ground_truth), Path(predictions)
    for file in (truth_path, path):
        if not file.exists():
            raise InputError(f"{file} does not exist: check the path")
    if truth_path.is_dir():
        truth_files = find_truth(truth_path)
        if any(path.rglob("*_pred.txt")):
            _require("instance", tasks, path)
            return TaskReport(instance=score_street_instances(truth_files, path, processes))
        _require("semantic", tasks, path)
        mean, iou = score_street_semantic(truth_files, path, processes)
        return TaskReport(semantic=mean, cityscapes_iou=iou)
    if path.is_dir():
        _require("semantic", tasks, path)
        return _score_semantic(read_truth(truth_path), path, processes)
    if holds_results(path):
        _require("instance", tasks, path)
        if (instances := read_instances(truth_path)) is not None:
            return TaskReport(instance=score_instances(instances, path))
        return _score_instances(read_truth(truth_path), path, processes)
    return score_panoptic(read_truth(truth_path), path, tasks, processes=processes)


def _require(task: str, tasks: Sequence[str] | None, path: Path) -> None:
    if tasks is not None and list(tasks) != [task]:
        raise InputError(f"{path} holds predictions of the task {task} alone, not of {', '.join(tasks)}")


def score_panoptic(
    truth: PanopticJson,
    path: Path,
    tasks: Sequence[str] | None = None,
    *,
    processes: int = 1,
    errors: ErrorCounts | None = None,
) -> TaskReport:
    """Score a COCO panoptic JSON file; the other arguments as in `score_files`.

    Args:
        truth: What to score against.
        path: The predictions.
        tasks: What to score.
        processes: How many decode and compare.
        errors: Gets what became of each object, over the classes of the truth.

    Raises:
        InputError: As `score_files`.
    """
    pairs = list_pairs(truth, path)
    if tasks is None and all(segment.score == 1 for pair in pairs for segment in pair.predicted_segments):
        tasks = [task for task in list_tasks(truth.categories) if task != "instance"]  # nothing to rank by
    elif tasks is None and (line := explain_left_out(truth.categories)):
        print(line, file=sys.stderr)
    scores = TaskScores(truth.categories, tasks)
    with Workers(processes, None) as workers:
        jobs = (
            (pair.truth, pair.prediction, scores.choose_things(pair.truth_segments, pair.predicted_segments))
            for pair in pairs
        )
        for number, (pair, measure) in enumerate(zip(pairs, workers.map(_measure, jobs), strict=True)):
            measure = measure._replace(overlaps=clear_ids(measure.overlaps, pair.void))
            scores.update(pair.image_id, measure, pair.truth_segments, pair.predicted_segments, names=pair.names)
            if errors is not None:
                segments = pair.truth_segments, pair.predicted_segments
                image = ScoredImage(number, pair.image_id, pair.truth.name, pair.prediction, *segments)
                errors.update(image, measure.overlaps)
    return scores.compute()


def _measure(_: None, job: tuple[Path, Path, Things | None]) -> Measure:
    return measure_files(*job)


def _score_instances(truth: PanopticJson, path: Path, processes: int) -> TaskReport:
    """Score COCO results against the things of a panoptic truth; an image without results has none."""
    metric = CocoAveragePrecision(truth.categories)
    results = read_instance_results(path, truth.categories)
    if unknown := [image_id for image_id in results if image_id not in truth.annotations]:
        raise InputError(
            f"{path}: the image {unknown[0]!r} is not in {truth.path}: score against the truth of its split"
        )
    with Workers(processes, truth.masks) as workers:
        encoded = workers.map(_encode_truth, truth.annotations.values())
        for (runs, size), annotation in zip(encoded, truth.annotations.values(), strict=True):
            found = results.get(annotation.image_id, [])
            if other := [result.size for result in found if result.size != size]:
                raise InputError(f"{path}: image {annotation.image_id!r} has {size} pixels, a mask has {other[0]}")
            things = [(segment, runs[segment.id]) for segment in annotation.segments if segment.is_thing]
            guesses = [(result.segment, result.runs) for result in found]
            metric.update_runs(annotation.image_id, things, guesses, size=size)
    return TaskReport(instance=metric.compute())


def _encode_truth(folder: Path, annotation: Annotation) -> tuple[dict[int, str], tuple[int, int]]:
    path = folder / annotation.file_name
    ids = read_ids(path)
    runs = encode_segments(ids, [segment.id for segment in annotation.segments if segment.is_thing])
    if missing := [segment.id for segment in annotation.segments if segment.is_thing and segment.id not in runs]:
        raise InputError(f"{path}: segments {missing[:5]} are in the list but have no pixel in the map: drop them")
    return runs, (ids.shape[0], ids.shape[1])


def _score_semantic(truth: PanopticJson, folder: Path, processes: int) -> TaskReport:
    """Score class maps, each named like the PNG of the truth."""
    metric = MeanIoU(truth.categories)
    with Workers(processes, (truth.masks, folder, truth.categories)) as workers:
        for overlaps in workers.map(_compare_classes, truth.annotations.values()):
            metric.update_overlaps(overlaps)
    return TaskReport(semantic=metric.compute())


def _compare_classes(shared: tuple[Path, Path, Sequence[Category]], annotation: Annotation) -> Overlaps:
    truth_folder, folder, categories = shared
    paths = truth_folder / annotation.file_name, folder / annotation.file_name
    truth, classes = read_ids(paths[0]), read_semantic_result(paths[1], categories)
    check_sizes((truth, classes), paths)
    own = dict.fromkeys((VOID_ID, *annotation.void), IGNORE_LABEL)
    own |= {segment.id: segment.category_id for segment in annotation.segments}
    try:
        return map_ids(measure_overlaps(truth, classes), own, {n: n for n in range(IGNORE_LABEL + 1)})
    except KeyError as error:
        raise InputError(
            f"{paths[0]}: the id {error} is in the map but not in the list: list it or set it to 0"
        ) from None
