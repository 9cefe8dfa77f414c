"""Compare prediction by tiles with prediction in one piece, on a mosaic of the images of a COCO-panoptic set.

python tools/check_tiling.py --checkpoint CKPT --data-root DATA [--side 2048] [--tile 1025] [--overlap 256] [--category ID]
                             [--output DIR]

Prints PQ of each against the truth, and of the tiled against the other; exit status 1 if that is below 90 or the tiled
loses more than a point against the truth. `--category` takes images with that class alone, `--output` keeps the overlays.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.files import write_png
from axial_deeplab.data.transforms import measure_segments
from axial_deeplab.inference import InferenceConfig
from axial_deeplab.metrics.panoptic_quality import PanopticQuality
from axial_deeplab.predict import load
from axial_deeplab.records import PanopticPrediction, PanopticRecord, Segment
from axial_deeplab.visualize import draw_overlay


def build_mosaic(records: Sequence[PanopticRecord], side: int) -> PanopticRecord:
    """Lay images side by side in rows, from the first on and over again, cut where a row or the mosaic ends.

    Each row is as high as its first image; lower ones leave void below. Stuff of a class is one segment throughout.
    """
    image, ids = torch.zeros(3, side, side, dtype=torch.uint8), torch.zeros(side, side, dtype=torch.int32)
    segments: dict[int, Segment] = {}
    top = left = height = number = 0
    while top < side:
        record = records[number % len(records)]
        number += 1
        height = height or min(record.image.shape[1], side - top)
        place = (slice(top, top + height), slice(left, left + record.image.shape[2]))
        shape = ids[place].shape
        part = record.panoptic_map[: shape[0], : shape[1]]
        rows, columns = slice(top, top + part.shape[0]), slice(left, left + part.shape[1])
        image[:, rows, columns] = record.image[:, : shape[0], : shape[1]]
        for segment in record.segments:
            new_id = 1000 + len(segments) if segment.is_thing else 1 + segment.category_id
            ids[rows, columns][part == segment.id] = new_id
            segments[new_id] = segment._replace(id=new_id)
        left += shape[1]
        if left >= side:
            top, left, height = top + height, 0, 0
    return PanopticRecord(image, ids, tuple(measure_segments(ids, list(segments.values()))), 0, "mosaic.png")


def main() -> int:
    """Predict, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--tile", type=int, default=1025)
    parser.add_argument("--overlap", type=int, default=256)
    parser.add_argument("--category", type=int)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    dataset = CocoPanopticDataset(options.data_root, options.split)
    records = [dataset[index] for index in range(len(dataset))]
    if options.category is not None:
        wanted = [category.id for category in dataset.categories].index(options.category)
        records = [record for record in records if any(each.category_id == wanted for each in record.segments)]
    mosaic = build_mosaic(records, options.side)
    configs = {"one piece": InferenceConfig(), "tiles": InferenceConfig(tile=options.tile, overlap=options.overlap)}
    predictions = {"truth": PanopticPrediction(mosaic.panoptic_map, list(mosaic.segments))}
    for name, config in configs.items():
        started = time.monotonic()
        predictions[name] = load(options.checkpoint, inference=config)(mosaic.image.permute(1, 2, 0))
        print(f"{name}: {len(predictions[name].segments)} segments in {time.monotonic() - started:.0f} s")
        if options.output is not None:
            overlay = draw_overlay(mosaic.image, predictions[name], dataset.categories)
            write_png(options.output / f"{name.replace(' ', '_')}.png", overlay)
    scores = {}
    for reference, name in (("truth", "one piece"), ("truth", "tiles"), ("one piece", "tiles")):
        quality = PanopticQuality(dataset.categories)
        first, second = predictions[reference], predictions[name]
        quality.update(first.panoptic_map, first.segments, second.panoptic_map, second.segments)
        report = quality.compute()
        scores[reference, name] = 100 * report.all.pq
        print(f"\n{name} against {reference}:\n{report.format_table()}")
    loss = scores["truth", "one piece"] - scores["truth", "tiles"]
    return int(scores["one piece", "tiles"] < 90 or loss > 1)


if __name__ == "__main__":
    sys.exit(main())
