"""Score files in the form of the Cityscapes benchmark against its own form of the truth, `*_gtFine_instanceIds.png`."""

from pathlib import Path

import numpy as np

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.cityscapes_results import find_predictions, read_instance_result, read_semantic_result
from axial_deeplab.data.cityscapes_scoring import CityscapesTruth, split_instance_ids
from axial_deeplab.data.convert.label_images import read_label_image
from axial_deeplab.metrics.average_precision import CityscapesAveragePrecision, PrecisionReport
from axial_deeplab.metrics.cityscapes_iou import CityscapesIoU, CityscapesIoUReport
from axial_deeplab.metrics.mean_iou import MeanIoU, MeanIoUReport
from axial_deeplab.metrics.overlaps import check_sizes
from axial_deeplab.metrics.workers import Workers
from axial_deeplab.records import IGNORE_LABEL

STREET = load_catalog("cityscapes")


def score_street_instances(truth: dict[str, Path], folder: Path, processes: int) -> PrecisionReport:
    """Return AP of the text files below a folder, over the images of `truth`: paths by `CITY_SEQUENCE_FRAME`."""
    metric = CityscapesAveragePrecision(STREET)
    jobs = list(zip(truth.values(), find_predictions(folder, list(truth), ".txt"), strict=True))
    with Workers(processes, None) as workers:
        for share in workers.map(_rank_instances, jobs):
            metric.merge(share)
    return metric.compute()


def _rank_instances(_: None, paths: tuple[Path, Path]) -> CityscapesAveragePrecision:
    truth, metric = _read_truth(paths[0]), CityscapesAveragePrecision(STREET)
    instances = read_instance_result(paths[1], STREET, truth.panoptic_map.shape)
    metric.update_masks(truth.panoptic_map, truth.segments, instances, excused=truth.excused)
    return metric


def score_street_semantic(
    truth: dict[str, Path], folder: Path, processes: int
) -> tuple[MeanIoUReport, CityscapesIoUReport]:
    """Return mIoU and iIoU of the label PNGs below a folder, over the images of `truth`."""
    mean, iou = MeanIoU(STREET), CityscapesIoU(STREET)
    jobs = list(zip(truth.values(), find_predictions(folder, list(truth), ".png"), strict=True))
    with Workers(processes, None) as workers:
        for one_mean, one_iou in workers.map(_compare_labels, jobs):
            mean.merge(one_mean)
            iou.merge(one_iou)
    return mean.compute(), iou.compute()


def _compare_labels(_: None, paths: tuple[Path, Path]) -> tuple[MeanIoU, CityscapesIoU]:
    truth, classes = _read_truth(paths[0]), read_semantic_result(paths[1], STREET)
    check_sizes((truth.panoptic_map, classes), paths)
    mean, iou = MeanIoU(STREET), CityscapesIoU(STREET)
    iou.update(truth.panoptic_map, truth.segments, classes)
    own = np.full(2**16, IGNORE_LABEL, np.uint8)
    for segment in truth.segments:
        own[segment.id] = segment.category_id
    mean.update(own.take(truth.panoptic_map), classes)
    return mean, iou


def _read_truth(path: Path) -> CityscapesTruth:
    return split_instance_ids(read_label_image(path, str(path)), STREET)
