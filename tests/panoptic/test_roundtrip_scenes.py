"""Scenes -> targets -> perfect heads -> segments, scored: what the encoding itself costs."""

import torch

from axial_deeplab.data.scenes import SceneDataset
from axial_deeplab.metrics.panoptic_quality import PanopticQuality
from axial_deeplab.panoptic.labels import split_panoptic_map
from axial_deeplab.panoptic.postprocess import PostprocessConfig, postprocess
from axial_deeplab.panoptic.targets import encode_targets
from axial_deeplab.records import PanopticPrediction, PanopticRecord
from tests.panoptic.label_maps import make_perfect_heads
from tests.panoptic.roundtrip import COINCIDING, TOO_SMALL, explain_losses, find_lost

STUFF_AREA_LIMIT = 64


def send_through(record: PanopticRecord) -> PanopticPrediction:
    """Return what post-processing makes of heads that say exactly what the record asks for."""
    maps = split_panoptic_map(record.panoptic_map, record.segments)
    heads = make_perfect_heads(encode_targets(*(part[None] for part in maps)), len(SceneDataset.categories))
    is_thing = [category.is_thing for category in SceneDataset.categories]
    (prediction,) = postprocess(heads, is_thing, PostprocessConfig(stuff_area_limit=STUFF_AREA_LIMIT))
    return prediction


def test_scenes_come_back() -> None:
    scenes = SceneDataset(200, size=128)
    quality = PanopticQuality(scenes.categories)
    segments = 0
    missing: list[tuple[str, int, str]] = []
    for index in range(len(scenes)):
        record = scenes[index]
        prediction = send_through(record)
        quality.update(record.panoptic_map, record.segments, prediction.panoptic_map, prediction.segments)
        causes = explain_losses(record.panoptic_map, record.segments, STUFF_AREA_LIMIT)
        lost = find_lost(record.panoptic_map, record.segments, prediction)
        assert lost == set(causes), f"{record.file_name}: lost {lost}, explained {causes}"
        missing += [(record.file_name, segment_id, causes[segment_id]) for segment_id in sorted(lost)]
        segments += len(record.segments)
    report = quality.compute()
    print(f"{segments} segments, {len(missing)} missing: {missing}")
    print(report.format_table())
    assert {cause for _, _, cause in missing} <= {COINCIDING, TOO_SMALL}
    assert report.all.pq >= 0.995
    assert torch.tensor([report.things.pq, report.stuff.pq]).min() >= 0.995
