"""Semantic, instance and panoptic segmentation are scored from one prediction."""

import torch

from axial_deeplab.data.cityscapes_scoring import split_instance_ids
from axial_deeplab.metrics.average_precision import CityscapesAveragePrecision
from axial_deeplab.metrics.cityscapes_iou import CityscapesIoU
from axial_deeplab.metrics.mean_iou import MeanIoU
from axial_deeplab.metrics.panoptic_quality import PanopticQuality
from axial_deeplab.panoptic.labels import to_instances, to_semantic
from axial_deeplab.records import PanopticPrediction
from tests.metrics.evaluator_record import CATEGORIES
from tests.oracles.street_scenes import make_scenes


def test_the_truth_is_perfect_in_all_three() -> None:
    quality, mean_iou = PanopticQuality(CATEGORIES), MeanIoU(CATEGORIES)
    iou, precision = CityscapesIoU(CATEGORIES), CityscapesAveragePrecision(CATEGORIES)
    for scene in make_scenes(4, 11):
        truth = split_instance_ids(scene.instance_ids, CATEGORIES)
        said = [segment._replace(is_crowd=False) for segment in truth.segments]
        prediction = PanopticPrediction(torch.from_numpy(truth.panoptic_map), said)
        semantic = to_semantic(prediction)
        quality.update(truth.panoptic_map, truth.segments, prediction.panoptic_map, prediction.segments)
        mean_iou.update(semantic, semantic)
        iou.update(truth.panoptic_map, truth.segments, semantic)
        precision.update_masks(truth.panoptic_map, truth.segments, to_instances(prediction))
    assert quality.compute().all.pq == 1.0
    assert mean_iou.compute().miou == 1.0
    assert iou.compute().classes.iou == 1.0
    assert 1 - 1e-10 < iou.compute().classes.iiou <= 1.0  # shares are rounded down to 2^-40
    assert iou.compute().groups.iou == 1.0
    assert precision.compute().ap == 1.0
