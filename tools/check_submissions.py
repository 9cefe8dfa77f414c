"""Let the official evaluators read the server files that this package writes, and compare their figures with ours.

The evaluators need an environment of their own, without PyTorch and without this package, so there are three steps:

python -m venv /tmp/evaluators && /tmp/evaluators/bin/pip install "numpy<2.3" cityscapesscripts==2.3.0 pycocotools==2.0.11
python tools/check_submissions.py write FOLDER
/tmp/evaluators/bin/python tools/check_submissions.py judge FOLDER
python tools/check_submissions.py compare FOLDER
"""

import argparse
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SCENES = 20


def write(folder: Path) -> None:
    """Write truth in Cityscapes' and COCO's form, and predictions in every form that a server takes."""
    from PIL import Image

    from axial_deeplab.data.files import write_json
    from axial_deeplab.data.submissions import SUBMISSIONS
    from tests.oracles.street_scenes import make_scenes
    from tests.street_predictions import CATEGORIES, list_coco_truth, predict_scene

    forms = {name: form for name, form in SUBMISSIONS.items() if name.startswith("cityscapes")}
    forms["coco-instance"] = SUBMISSIONS["coco-instance"]._replace(open=_open_instances)
    town = folder / "gtFine" / "val" / "town"
    town.mkdir(parents=True)
    scenes = make_scenes(SCENES, 500)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(form.open(folder, CATEGORIES)) for name, form in forms.items()}
        for number, scene in enumerate(scenes):
            name = f"town_{number:06}_000019"
            Image.fromarray(scene.instance_ids.astype(np.uint16)).save(town / f"{name}_gtFine_instanceIds.png")
            Image.fromarray(scene.labels).save(town / f"{name}_gtFine_labelIds.png")
            prediction = predict_scene(scene, number)
            for form, writer in writers.items():
                image_id, file_name = (number, name) if form == "coco-instance" else (name, f"{name}.png")
                writer.add(image_id, file_name, prediction)
    write_json(folder / "instances_val.json", list_coco_truth(scenes))


def _open_instances(folder: Path, categories: Any) -> Any:
    """Open the writer of `coco-instance` without asking for COCO's own classes."""
    from axial_deeplab.data.coco_results import InstanceWriter

    return InstanceWriter(folder / "coco-instance" / "results.json", categories)


def judge(folder: Path) -> None:
    """Run the official evaluators; their figures go into official.json."""
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as InstanceLevel
    from cityscapesscripts.evaluation import evalPanopticSemanticLabeling as PanopticLevel
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as PixelLevel
    from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    os.chdir(folder)  # an evaluator leaves matches.json where it stands
    convert2panoptic("gtFine", "gtFine", False, ["val"])
    predicted = "cityscapes-panoptic/panoptic.json"
    panoptic = PanopticLevel.evaluatePanoptic(
        "gtFine/cityscapes_panoptic_val.json",
        "gtFine/cityscapes_panoptic_val",
        predicted,
        predicted[:-5],
        "panoptic_results.json",
    )
    truth = sorted(str(path) for path in Path("gtFine/val").rglob("*_instanceIds.png"))
    args = InstanceLevel.args
    args.quiet, args.JSONOutput, args.gtInstancesFile = True, False, "gtInstances.json"
    args.predictionPath, args.predictionWalk = os.path.abspath("cityscapes-instance"), None
    texts = [InstanceLevel.getPrediction(path, args) for path in truth]
    instances = InstanceLevel.evaluateImgLists(texts, truth, args)["averages"]
    args = PixelLevel.args
    args.quiet, args.JSONOutput = True, False
    args.predictionPath, args.predictionWalk = os.path.abspath("cityscapes-semantic"), None
    labels = [path.replace("instanceIds", "labelIds") for path in truth]
    pixels = PixelLevel.evaluateImgLists([PixelLevel.getPrediction(args, path) for path in labels], labels, args)
    coco = COCO("instances_val.json")
    evaluation = COCOeval(coco, coco.loadRes("coco-instance/results.json"), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    official = {
        "PQ": {name: [panoptic[name][key] for key in ("pq", "sq", "rq")] for name in ("All", "Things", "Stuff")},
        "Cityscapes AP": [instances["allAp"], instances["allAp50%"]],
        "IoU": [pixels["averageScoreClasses"], pixels["averageScoreInstClasses"]],
        "IoU of categories": [pixels["averageScoreCategories"], pixels["averageScoreInstCategories"]],
        "COCO AP": [value if value >= 0 else None for value in evaluation.stats.tolist()],
    }
    Path("official.json").write_text(json.dumps(official, indent=1) + "\n")


def compare(folder: Path) -> None:
    """Score the same files and print the largest difference of each kind of figure; 1 on one above 1e-6."""
    from axial_deeplab.metrics.coco_average_precision import CocoPrecisionReport
    from axial_deeplab.metrics.score_files import score_files

    official = json.loads((folder / "official.json").read_text())
    panoptic = score_files(folder / "gtFine/cityscapes_panoptic_val.json", folder / "cityscapes-panoptic/panoptic.json")
    precision = score_files(folder / "gtFine/val", folder / "cityscapes-instance").instance
    street = score_files(folder / "gtFine/val", folder / "cityscapes-semantic").cityscapes_iou
    coco = score_files(folder / "instances_val.json", folder / "coco-instance/results.json").instance
    assert panoptic.panoptic is not None
    assert precision is not None
    assert street is not None
    assert isinstance(coco, CocoPrecisionReport)
    groups = {"All": panoptic.panoptic.all, "Things": panoptic.panoptic.things, "Stuff": panoptic.panoptic.stuff}
    ours = {
        "PQ": {name: [quality.pq, quality.sq, quality.rq] for name, quality in groups.items()},
        "Cityscapes AP": [precision.ap, precision.ap50],
        "IoU": list(street.classes),
        "IoU of categories": list(street.groups),
        "COCO AP": [value if value == value else None for value in coco.figures.values()],
    }
    worst = {name: _differ(official[name], ours[name]) for name in official}
    for name, difference in worst.items():
        print(f"{name:18} {json.dumps(official[name])}\n{'':18} largest difference {difference:.1e}")
    sys.exit(int(max(worst.values()) > 1e-6))


def _differ(one: Any, other: Any) -> float:
    if isinstance(one, dict):
        return max(_differ(one[key], other[key]) for key in one)
    assert [value is None for value in one] == [value is None for value in other], "what is undefined differs"
    return max(abs(a - b) for a, b in zip(one, other, strict=True) if a is not None)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    steps = {"write": write, "judge": judge, "compare": compare}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=steps, help="what to do")
    parser.add_argument("folder", type=Path, help="where the files are; write makes it")
    options = parser.parse_args()
    steps[options.step](options.folder.resolve())
