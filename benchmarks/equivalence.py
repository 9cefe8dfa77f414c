"""Ask whether training through the fused kernels is training along the reference path, with a recipe on its own images.

    python -m benchmarks.equivalence --data-root nuclei [--only steps curves bf16] [--output FILE]

Runs of one seed begin with the same weights and see the same crops. The reference path is attention in einsums and PyTorch's
batch norms; the fused path has kernels for both. float32 is without TF32. On a GPU forward and backward are one CUDA graph.

- steps: the losses of the first three steps agree within 1e-4.
- curves: over a whole run rounding grows as it likes, in the reference too. The distance of two runs is the mean absolute
  difference of their loss curves, smoothed by a moving average over 20 steps. For every seed there are five reference runs,
  four of them with images changed by at most 1e-6 of their values, ten distances in all; the mean distance of the fused run
  to these five must not exceed the largest. The mean distance of each reference run to the others is listed beside.
- bf16: under autocast the mean final loss (last 20 steps) of the fused runs lies within the reference's smallest and
  largest; the final loss of each seed is listed beside.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from axial_deeplab.data.files import write_json
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.recipes import RECIPES
from benchmarks.gpu_timing import describe_machine
from benchmarks.training_runs import Laboratory, Run

WINDOW = 20
"""int: Steps of the moving average, and of the final loss."""

REFERENCES = 5
FIRST_STEPS, ALLOWED_DIFFERENCE = 3, 1e-4


def smooth(losses: Tensor) -> Tensor:
    """Return the moving average over `WINDOW` steps."""
    return losses.unfold(0, min(WINDOW, len(losses)), 1).mean(1)


def measure_distance(first: Tensor, second: Tensor) -> float:
    """Return the mean absolute difference of two smoothed loss curves."""
    return float((smooth(first) - smooth(second)).abs().mean())


def compare_steps(laboratory: Laboratory, seeds: list[int], backend: str) -> Iterator[dict[str, Any]]:
    """Compare the losses of the first steps."""
    for seed in seeds:
        plain, fused = (laboratory.train(Run(seed, way), FIRST_STEPS) for way in ("reference", backend))
        difference = float(((fused - plain).abs() / plain.abs()).max())
        yield {
            "verdict": f"steps, seed {seed}: {backend} differs by {difference:.1e}, allowed {ALLOWED_DIFFERENCE:.0e}",
            "passed": difference <= ALLOWED_DIFFERENCE,
            "reference": plain.tolist(),
            "fused": fused.tolist(),
        }


def compare_curves(laboratory: Laboratory, seeds: list[int], backend: str) -> Iterator[dict[str, Any]]:
    """Compare how far apart whole runs are."""
    for seed in seeds:
        plain = [laboratory.train(Run(seed, "reference", perturbation=number)) for number in range(REFERENCES)]
        fused = laboratory.train(Run(seed, backend))
        among = [measure_distance(*pair) for pair in combinations(plain, 2)]
        of_each = [sum(measure_distance(one, other) for other in plain) / (REFERENCES - 1) for one in plain]
        to_fused = [measure_distance(fused, curve) for curve in plain]
        mean, largest = sum(to_fused) / REFERENCES, max(among)
        yield {
            "verdict": f"curves, seed {seed}: {backend} is {mean:.3g} from the reference runs, these up to {largest:.3g} apart",
            "passed": mean <= largest,
            "distances_among_reference": among,
            "mean_distance_of_each_reference": of_each,
            "distances_to_fused": to_fused,
            "reference": smooth(plain[0])[::WINDOW].tolist(),
            "fused": smooth(fused)[::WINDOW].tolist(),
        }


def compare_bf16(laboratory: Laboratory, seeds: list[int], backend: str) -> Iterator[dict[str, Any]]:
    """Compare final losses under autocast."""
    final = {
        way: [float(laboratory.train(Run(seed, way, bfloat16=True))[-WINDOW:].mean()) for seed in seeds]
        for way in dict.fromkeys(("reference", backend))
    }
    low, high = min(final["reference"]), max(final["reference"])
    mean = sum(final[backend]) / len(seeds)
    listed = ", ".join(f"{loss:.4f}{'' if low <= loss <= high else ' (outside)'}" for loss in final[backend])
    yield {
        "verdict": f"bf16: {backend} ends at {mean:.4f}, reference {low:.4f} to {high:.4f}; single seeds: {listed}",
        "passed": low <= mean <= high,
        "reference": final["reference"],
        "fused": final[backend],
    }


def main(arguments: list[str] | None = None) -> int:
    """Compare, print and write; exit status 1 if a verdict is against the fused path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("steps", "curves", "bf16"), default=["steps", "curves", "bf16"])
    parser.add_argument("--data-root", help="folder in COCO-panoptic format")
    parser.add_argument("--recipe", choices=list(RECIPES), default="nuclei_axial_deeplab_s")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--crop", type=int, default=129, help="side in pixels")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--fp32-backend", default="triton")
    parser.add_argument("--bf16-backend", default="auto")
    parser.add_argument("--eager", action="store_true", help="launch from Python, without a CUDA graph")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/equivalence.json"))
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    warnings.filterwarnings("error", message="a kernel cannot run")
    laboratory = Laboratory(fit_recipe(options), device, graph=device == "cuda" and not options.eager)
    compare = {
        "steps": (compare_steps, options.fp32_backend),
        "curves": (compare_curves, options.fp32_backend),
        "bf16": (compare_bf16, options.bf16_backend),
    }
    settings = {name: getattr(options, name) for name in ("recipe", "steps", "seeds", "crop", "batch", "eager")}
    results: dict[str, Any] = {"machine": describe_machine() if device == "cuda" else {"gpu": None}, **settings}
    passed = True
    for part in options.only:
        call, backend = compare[part]
        results[part] = []
        for row in call(laboratory, list(range(options.seeds)), backend):
            results[part].append(row)
            passed &= row["passed"]
            print("yes" if row["passed"] else "NO ", row["verdict"], flush=True)
            write_json(options.output, results, indent=2)  # after every verdict: a time limit loses none
    return int(not passed)


def fit_recipe(options: argparse.Namespace) -> Recipe:
    """Return the recipe with smaller crops and batches, its learning rate in proportion, and a short warm-up."""
    recipe = RECIPES[options.recipe]()
    lr = recipe.optimizer.lr * options.batch / recipe.reference_batch
    return replace(
        recipe,
        data=replace(recipe.data, root=options.data_root, workers=options.workers),
        augment=replace(recipe.augment, crop_size=(options.crop, options.crop)),
        optimizer=replace(recipe.optimizer, lr=lr, warmup=options.steps // 10),
        batch_size=options.batch,
        iterations=options.steps,
    )


if __name__ == "__main__":
    sys.exit(main())
