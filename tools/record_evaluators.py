"""Record what the official evaluators say of random scenes: the fixtures of tests/metrics.

The evaluators need an environment of their own, without PyTorch and without this package installed:

python -m venv /tmp/evaluators && /tmp/evaluators/bin/pip install "numpy<2.3" cityscapesscripts==2.3.0 pycocotools==2.0.11
/tmp/evaluators/bin/python tools/record_evaluators.py tests/metrics/evaluators.json
"""

import importlib.metadata
import json
import math
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as InstanceLevel
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as PixelLevel
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "oracles"))
import street_scenes

SETS = {"few": (3, 7), "many": (20, 100)}  # number of scenes, first seed


def write_scenes(scenes: list, folder: Path) -> SimpleNamespace:
    """Write truth and predictions in the form that the benchmark takes; return the paths."""
    paths = SimpleNamespace(labels=[], instances=[], predicted_labels=[], predicted_instances=[])
    for number, scene in enumerate(scenes):
        name = f"town_{number:06}_000000"
        paths.labels.append(str(folder / f"{name}_gtFine_labelIds.png"))
        paths.instances.append(str(folder / f"{name}_gtFine_instanceIds.png"))
        paths.predicted_labels.append(str(folder / f"{name}_pred.png"))
        paths.predicted_instances.append(str(folder / f"{name}_pred.txt"))
        Image.fromarray(scene.labels).save(paths.labels[-1])
        Image.fromarray(scene.instance_ids.astype(np.uint16)).save(paths.instances[-1])
        Image.fromarray(scene.predicted_labels).save(paths.predicted_labels[-1])
        lines = []
        for position, (label, score, mask) in enumerate(scene.instances):
            file = f"{name}_{position}.png"
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / file)
            lines.append(f"{file} {label} {score!r}\n")
        Path(paths.predicted_instances[-1]).write_text("".join(lines))
    return paths


def score_pixels(paths: SimpleNamespace) -> dict:
    """Run the pixel-level evaluator; drop the confusion matrix."""
    PixelLevel.args.quiet, PixelLevel.args.JSONOutput = True, False
    result = PixelLevel.evaluateImgLists(paths.predicted_labels, paths.labels, PixelLevel.args)
    kept = ("Scores", "averageScore")
    return {key: value for key, value in result.items() if key.endswith(kept[0]) or key.startswith(kept[1])}


def score_instances(paths: SimpleNamespace, folder: Path) -> dict:
    """Run the instance-level evaluator."""
    args = InstanceLevel.args
    args.quiet, args.JSONOutput = True, False
    args.gtInstancesFile, args.predictionPath = str(folder / "gtInstances.json"), str(folder)
    return InstanceLevel.evaluateImgLists(paths.predicted_instances, paths.instances, args)["averages"]


def score_coco(scenes: list) -> list[float]:
    """Run pycocotools on the same masks; groups are crowd. Return its twelve numbers."""
    truth, found = [], []
    for number, scene in enumerate(scenes):
        for value in np.unique(scene.instance_ids).tolist():
            label = value // 1000 if value >= 1000 else value
            if label in street_scenes.THINGS:
                mask = scene.instance_ids == value
                entry = {"id": len(truth) + 1, "image_id": number, "category_id": label, "iscrowd": int(value < 1000)}
                truth.append(entry | {"area": int(mask.sum()), "segmentation": encode(mask), "bbox": [0, 0, 1, 1]})
        for label, score, mask in scene.instances:
            found.append({"image_id": number, "category_id": label, "score": score, "segmentation": encode(mask)})
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": n, "height": street_scenes.HEIGHT, "width": street_scenes.WIDTH} for n in range(len(scenes))],
        "categories": [{"id": label, "name": str(label)} for label in street_scenes.THINGS],
        "annotations": truth,
    }
    dataset.createIndex()
    evaluation = COCOeval(dataset, dataset.loadRes(found), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


def encode(mask: np.ndarray) -> dict:
    """Return the run lengths of a mask."""
    return rle.encode(np.asfortranarray(mask.astype(np.uint8)))


def replace_nan(value: object) -> object:
    """Return the same with None for NaN, all through dictionaries and lists."""
    if isinstance(value, dict):
        return {key: replace_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replace_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def main() -> None:
    """Score each set of scenes and write one JSON."""
    output = Path(sys.argv[1]).resolve()
    versions = {name: importlib.metadata.version(name) for name in ("cityscapesscripts", "pycocotools", "numpy")}
    record: dict = {"versions": versions, "sets": {}}
    for name, (count, first_seed) in SETS.items():
        scenes = street_scenes.make_scenes(count, first_seed)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            os.chdir(folder)  # the evaluator leaves matches.json where it stands
            paths = write_scenes(scenes, folder)
            record["sets"][name] = {
                "count": count,
                "first_seed": first_seed,
                "digest": street_scenes.digest(scenes),
                "pixels": score_pixels(paths),
                "instances": score_instances(paths, folder),
                "coco": score_coco(scenes),
            }
            os.chdir(output.parent)
    output.write_text(json.dumps(replace_nan(record), indent=1) + "\n")


if __name__ == "__main__":
    main()
