"""What a run leaves on disk beside its checkpoints, and what must hold before it may begin or go on.

```
RUN/recipe.json       every field, as given         RUN/logs/version_N/     metrics.csv and TensorBoard events
RUN/versions.json     of the software               RUN/checkpoints/        best.ckpt and last.ckpt, for the trainer
RUN/result.json       scores, time, throughput      RUN/checkpoint/         model.safetensors and config.json of the best
RUN/init.json         what `model.init` gave
```
"""

import csv
import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from axial_deeplab.data.files import write_json
from axial_deeplab.errors import InputError
from axial_deeplab.serialization import to_plain
from axial_deeplab.training.kinds import AnyRecipe, build_recipe

MAY_CHANGE = ("data.root", "data.workers", "compile")
"""tuple: Fields that do not change what a resumed run computes, so they may differ from those it began with."""


def prepare_run(output: Path, recipe: AnyRecipe, *, resume: bool, processes: int = 1) -> None:
    """Record recipe, software and the number of processes in `output`.

    A folder whose run has not come to a first checkpoint is written anew: nothing in it can be continued.

    Raises:
        InputError: If `output` holds a run and `resume` is off, or it holds another run than the one to resume, or one on
            another number of processes: steps and rates would not mean the same.
    """
    record = output / "recipe.json"
    if record.exists() and (output / "checkpoints" / "last.ckpt").exists():
        if not resume:
            raise InputError(f"{output} already holds a run: continue it with --resume, or choose another --output")
        if changed := list_differences(read_recipe(output), recipe):
            raise InputError(f"{output} holds a run with other {', '.join(changed)}: a resumed run keeps its recipe")
        before = read_record(output / "versions.json").get("processes", processes)
        if before != processes:
            raise InputError(f"{output} holds a run of {before} processes, not {processes}: set --devices {before}")
    else:
        (output / "init.json").unlink(missing_ok=True)  # of a run that was given up
    write_json(record, to_plain(recipe), indent=2)
    write_json(output / "versions.json", describe_versions() | {"processes": processes}, indent=2)


def read_recipe(output: Path) -> AnyRecipe:
    """Return the recipe that a run was started with."""
    return build_recipe(read_record(output / "recipe.json"), where=str(output / "recipe.json"))


def read_record(path: Path) -> Any:
    """Return the content of a JSON file that a run left.

    Raises:
        InputError: If the file is absent or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: {path.parent} holds no finished run") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from None


def list_differences(first: AnyRecipe, second: AnyRecipe) -> list[str]:
    """Name the fields, as dotted paths, that make two recipes different runs."""
    ours, theirs = flatten(to_plain(first)), flatten(to_plain(second))
    names = [*ours, *(name for name in theirs if name not in ours)]
    return [name for name in names if ours.get(name) != theirs.get(name) and name not in MAY_CHANGE]


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested tables into one with dotted names."""
    flat = {}
    for name, value in values.items():
        nested = flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        flat.update(nested)
    return flat


def describe_versions() -> dict[str, Any]:
    """Return what a result may depend on beside the recipe."""
    packages = ("axial-deeplab", "torch", "numpy", "pillow", "lightning")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _find_version(name) for name in packages},
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _find_commit(),
    }


def _find_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _find_commit() -> str | None:
    """Return the commit of the source tree that this package runs from, "-dirty" where it has changed since."""
    if not _ask_git("ls-files", "records.py"):  # installed, perhaps inside somebody else's repository
        return None
    return _ask_git("rev-parse", "HEAD") + ("-dirty" if _ask_git("status", "--porcelain", "--", ".") else "")


def _ask_git(*arguments: str) -> str:
    """Return what git says about the folder of this package, nothing if it cannot say."""
    command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def read_scores(run: Path, monitor: str) -> list[tuple[float, float]]:
    """Return (step, score in percent) of every score that a run has kept; what a resumed run repeated counts once.

    Args:
        run: Folder of the run.
        monitor: Column of its `metrics.csv`, such as "val/pq".

    Raises:
        InputError: If there is none.
    """
    scores: dict[int, float] = {}
    files = sorted(run.glob("logs/version_*/metrics.csv"), key=lambda path: int(path.parent.name.rpartition("_")[2]))
    for file in files:
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if row.get(monitor):
                    scores[int(row["step"]) + 1] = 100 * float(row[monitor])
    if not scores:
        raise InputError(f"{run} has kept no scores: {run / 'logs'} holds no {monitor}")
    return sorted(scores.items())
