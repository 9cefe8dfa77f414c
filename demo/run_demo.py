"""Train a small Axial-DeepLab on procedural scenes, score it on scenes that it never saw, and show what it sees.

Needs no data, no network and no GPU: a few minutes on two CPU cores. Everything goes into `runs/demo`:

    contact_sheet.png    image, truth, prediction, center heatmap and offsets side by side
    overlays/            the same scenes, one picture each
    predictions.json     and predictions/: all held-out scenes in COCO-panoptic format; report.json has the scores,
                         report.html shows where it went wrong
    checkpoint/          for `axial_deeplab.load` and for `axial-deeplab predict`
"""

import argparse
import dataclasses
import shutil
import sys
import time
from pathlib import Path

import torch

from axial_deeplab.contact_sheet import SheetRow, draw_contact_sheet
from axial_deeplab.data.files import write_png
from axial_deeplab.data.scenes import SceneDataset
from axial_deeplab.evaluate import evaluate
from axial_deeplab.predict import Predictor, load
from axial_deeplab.records import PanopticPrediction
from axial_deeplab.training.recipes import scenes_small
from axial_deeplab.training.run import train
from axial_deeplab.training.run_folder import read_recipe
from axial_deeplab.visualize import draw_overlay

HELD_OUT, SHOWN = 64, 6
"""int: Scenes to score, and those of them to draw."""

MIN_PQ, MIN_PQ_THINGS = 0.60, 0.50
"""float: What the demo must reach to exit with 0."""


def main() -> int:
    """Run the demo; exit status 1 if it learned too little."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/demo"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    # One core is left to others: in a network so small, threads that wait for a busy core cost more than they bring.
    torch.set_num_threads(max(1, min(8, torch.get_num_threads() - 1)))
    if (options.output / "recipe.json").exists() and read_recipe(options.output).name == scenes_small().name:
        shutil.rmtree(options.output)  # an earlier demo; any other run is left alone
    recipe = dataclasses.replace(scenes_small(), seed=options.seed)
    train(recipe, options.output)

    # Seeds 0 and 1 are what the run learned from and what chose its best weights.
    scenes = SceneDataset(HELD_OUT, size=recipe.data.scene_size, seed=2)
    predictor = load(options.output / "checkpoint", device="cpu")
    report = evaluate(predictor, scenes, options.output)
    draw_scenes(predictor, scenes, options.output)
    print(f"\n{HELD_OUT} scenes that the network never saw:\n\n{report.format_table()}\n")
    print(f"{time.monotonic() - started:.0f} s in all; look at {options.output / 'contact_sheet.png'}")
    if report.all.pq < MIN_PQ or report.things.pq < MIN_PQ_THINGS:
        print(f"too low: PQ {MIN_PQ:.0%} and PQ of things {MIN_PQ_THINGS:.0%} were expected", file=sys.stderr)
        return 1
    return 0


def draw_scenes(predictor: Predictor, scenes: SceneDataset, output: Path) -> None:
    """Draw the first scenes one by one, and all of them on one sheet."""
    rows = []
    for record in map(scenes.__getitem__, range(SHOWN)):
        prediction, heads = predictor.predict_with_heads(record.image.permute(1, 2, 0))
        overlay = draw_overlay(record.image, prediction, predictor.categories)
        write_png(output / "overlays" / record.file_name, overlay)
        truth = PanopticPrediction(record.panoptic_map, list(record.segments))
        rows.append(
            SheetRow(record.image, truth, prediction, heads.center_heatmap[0, 0], heads.offset[0], record.file_name)
        )
    write_png(output / "contact_sheet.png", draw_contact_sheet(rows, predictor.categories))


if __name__ == "__main__":
    sys.exit(main())
