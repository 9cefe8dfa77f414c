"""Data without things, and data without stuff, go the whole way: convert, train, evaluate."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from axial_deeplab.checkpoints.load import load_checkpoint
from axial_deeplab.cli import main
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.metrics.panoptic_quality import PanopticQuality, compute_panoptic_quality
from axial_deeplab.panoptic.labels import split_panoptic_map
from axial_deeplab.panoptic.losses import panoptic_loss
from axial_deeplab.panoptic.postprocess import postprocess
from axial_deeplab.panoptic.targets import encode_targets
from tests.data.convert_sources import write_picture
from tests.panoptic.label_maps import make_perfect_heads

KINDS = {
    "instance-only": ({"object": True, "background": False}, []),
    "instances, rest void": ({"object": True}, ["--unlabeled", "void"]),
    "semantic-only": ({"sky": False, "road": False, "tree": False}, []),
}


def write_source(root: Path, kind: str) -> Path:
    """Write four pictures, one of them without any object, as instance maps or as semantic maps."""
    folder = root / ("semantic" if kind == "semantic-only" else "masks")
    folder.mkdir(parents=True)
    for name in "abcd":
        write_picture(root / "images" / f"{name}.png", (40, 56))
        values = np.zeros((40, 56), np.uint8)
        if kind == "semantic-only":
            values[10:], values[20:, 20:], values[:4, :4] = 1, 2, 255
        elif name != "a":
            values[5:15, 5:15], values[20:30, 30:45] = 1, 2
        Image.fromarray(values).save(folder / f"{name}.png")
    if kind == "semantic-only":
        (root / "classes.txt").write_text("sky\nroad\ntree\n")
    return root


def convert(tmp_path: Path, kind: str) -> Path:
    source, data = write_source(tmp_path / "source", kind), tmp_path / "data"
    options = KINDS[kind][1]
    assert main(["dataset", "convert", str(source), "--output", str(data), "--split", "0.5", *options]) == 0
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_convert_train_evaluate(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, scored = str(convert(tmp_path, kind)), tmp_path / "run", tmp_path / "scored"
    sizes = ["--augment.crop_size", "[33, 33]", "--iterations", "2", "--val_every", "2", "--batch_size", "2"]
    options = ["--data.dataset", "coco_panoptic", "--data.root", data, "--reference_batch", "2", "--output", str(run)]
    assert main(["train", "scenes_small", *sizes, *options]) == 0
    with next(run.glob("logs/*/metrics.csv")).open() as file:
        losses = next(csv.DictReader(file))
    assert all(math.isfinite(float(losses[f"loss/{name}"])) for name in ("semantic", "center", "offset", "total"))
    _, config = load_checkpoint(run / "checkpoint")
    assert {category.name: category.is_thing for category in config.categories} == KINDS[kind][0]
    capsys.readouterr()
    checkpoint = str(run / "checkpoint")
    assert main(["evaluate", "--checkpoint", checkpoint, "--data.root", data, "--output", str(scored)]) == 0
    assert "Things" in capsys.readouterr().out
    report = compute_panoptic_quality(
        Path(data) / "annotations" / "panoptic_val.json", scored / "predictions.json"
    ).to_json()
    assert report.items() <= json.loads((scored / "report.json").read_text()).items()
    assert report["All"]["n"] >= 1


@pytest.mark.parametrize("kind", KINDS)
def test_perfect_heads_score_100(kind: str, tmp_path: Path) -> None:
    data = convert(tmp_path, kind)
    for split in ("train", "val"):
        dataset = CocoPanopticDataset(data, split)
        quality = PanopticQuality(dataset.categories)
        is_thing = [category.is_thing for category in dataset.categories]
        for record in dataset:
            labels = split_panoptic_map(record.panoptic_map, record.segments)
            targets = encode_targets(*(part[None] for part in labels), sigma=4.0)
            ignored = (targets.semantic == 255)[0]
            heads = make_perfect_heads(
                targets._replace(semantic=targets.semantic.clamp(max=len(is_thing) - 1)), len(is_thing)
            )
            losses = panoptic_loss(heads, targets)
            assert all(float(loss) < 1e-4 for loss in losses.values()), losses
            (prediction,) = postprocess(heads, is_thing)
            prediction.panoptic_map[ignored] = 0
            kept = [s for s in prediction.segments if bool((prediction.panoptic_map == s.id).any())]
            quality.update(record.panoptic_map, record.segments, prediction.panoptic_map, kept)
        report = quality.compute()
        assert (report.all.pq, report.all.n) == (1.0, len(is_thing))
        assert (report.things.n, report.stuff.n) == (sum(is_thing), len(is_thing) - sum(is_thing))


def test_a_batch_without_any_label_has_zero_loss_and_no_gradient() -> None:
    void = torch.full((2, 9, 9), 255)
    targets = encode_targets(void, torch.zeros_like(void))
    heads = make_perfect_heads(targets._replace(semantic=torch.zeros_like(void)), 1)
    leaves = type(heads)(*(head.clone().requires_grad_() for head in heads))
    losses = panoptic_loss(leaves, targets)
    assert all(float(loss.detach()) == 0 for loss in losses.values())
    losses["total"].backward()
    assert all(head.grad is not None and bool((head.grad == 0).all()) for head in leaves)
