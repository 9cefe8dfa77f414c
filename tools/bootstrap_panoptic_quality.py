"""Print how far PQ depends on which images were drawn: a bootstrap over the images of a COCO-panoptic pair.

python tools/bootstrap_panoptic_quality.py GT.json PRED.json [--draws 2000] [--seed 0]
"""

import argparse
from pathlib import Path

import numpy as np

from axial_deeplab.data.panoptic_json import read_panoptic_json
from axial_deeplab.data.panoptic_png import read_ids
from axial_deeplab.metrics.panoptic_quality import PanopticQuality


def count_each_image(truth_json: Path, prediction_json: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return tp, fp, fn and the sum of IoUs, [image, class, 4], and which classes are things."""
    truth = read_panoptic_json(truth_json)
    prediction = read_panoptic_json(prediction_json, categories=truth.categories)
    rows = []
    for image_id, annotation in truth.annotations.items():
        predicted = prediction.annotations[image_id]
        quality = PanopticQuality(truth.categories)
        quality.update(
            read_ids(truth_json.with_suffix("") / annotation.file_name),
            annotation.segments,
            read_ids(prediction_json.with_suffix("") / predicted.file_name),
            predicted.segments,
        )
        classes = quality.compute().per_class.values()
        rows.append([(c.tp, c.fp, c.fn, c.sq * c.tp) for c in classes])
    return np.array(rows), np.array([category.is_thing for category in truth.categories])


def compute_pq(counts: np.ndarray) -> float:
    """Return PQ from counts [image, class, 4], over the classes that occur."""
    tp, fp, fn, iou = counts.sum(0).T
    weight = tp + fp / 2 + fn / 2
    return float((iou[weight > 0] / weight[weight > 0]).mean())


def main() -> None:
    """Print PQ of all classes, things and stuff with 95 % intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ground_truth", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, is_thing = count_each_image(options.ground_truth, options.predictions)
    generator = np.random.default_rng(options.seed)
    draws = generator.integers(len(counts), size=(options.draws, len(counts)))
    for name, chosen in (("All", is_thing | True), ("Things", is_thing), ("Stuff", ~is_thing)):
        if chosen.any():
            values = [compute_pq(counts[draw][:, chosen]) for draw in draws]
            low, high = np.percentile(values, [2.5, 97.5])
            print(f"{name}: PQ {compute_pq(counts[:, chosen]):.1%}, 95 % interval {low:.1%} to {high:.1%}")


if __name__ == "__main__":
    main()
