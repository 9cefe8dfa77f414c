"""Training and evaluation take data sets as shipped."""

import json
from pathlib import Path

import pytest

from axial_deeplab.cli import main
from axial_deeplab.metrics.panoptic_quality import compute_panoptic_quality
from tests.data.layout_sources import write_cityscapes, write_coco_panoptic, write_mapillary
from tests.oracles.cityscapes_panoptic import write_panoptic_files

LAYOUTS = {"coco": write_coco_panoptic, "cityscapes": write_cityscapes, "mapillary": write_mapillary}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_train_and_evaluate(layout: str, tmp_path: Path) -> None:
    root = write_mapillary(tmp_path / "data", "2.0") if layout == "mapillary" else LAYOUTS[layout](tmp_path / "data")
    place = ["--data.root", str(root), *(["--data.version", "2.0"] if layout == "mapillary" else [])]
    sizes = ["--augment.crop_size", "[33, 33]", "--iterations", "1", "--batch_size", "1", "--reference_batch", "1"]
    run, scored = tmp_path / "run", tmp_path / "scored"
    options = ["--data.dataset", "coco_panoptic", "--val_every", "1", *sizes, "--output", str(run)]
    assert main(["train", "scenes_small", *place, *options]) == 0
    assert main(["evaluate", "--checkpoint", str(run / "checkpoint"), *place, "--output", str(scored)]) == 0
    stressed = [
        "--checkpoint",
        str(run / "checkpoint"),
        *place,
        "--scales",
        "1",
        "--output",
        str(tmp_path / "stressed"),
    ]
    assert main(["stress", *stressed]) == 0
    if layout == "cityscapes":
        images, server = str(root / "leftImg8bit" / "test"), tmp_path / "server"
        options = ["--checkpoint", str(run / "checkpoint"), "--output", str(server)]
        assert main(["predict", images, *options, "--submission", "cityscapes-panoptic"]) == 0
        assert len(list((server / "cityscapes-panoptic").rglob("*.png"))) == len(list(Path(images).rglob("*.png")))
    report = json.loads((scored / "report.json").read_text())
    assert report["All"]["n"] > 0
    # The official JSON of Cityscapes is made only now: what was scored came from instance ids.
    own = {
        "coco": root / "annotations" / "panoptic_val2017.json",
        "mapillary": root / "validation" / "v2.0" / "panoptic" / "panoptic_2020.json",
    }
    truth = own[layout] if layout in own else write_panoptic_files(root, "val")
    assert compute_panoptic_quality(truth, scored / "predictions.json").to_json().items() <= report.items()
