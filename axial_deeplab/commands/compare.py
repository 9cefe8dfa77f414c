"""`axial-deeplab compare`: scores of finished runs, seeds taken together, the fields in which they differ, their curves."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from axial_deeplab.commands.parsing import make_parser, parse
from axial_deeplab.data.files import write_png
from axial_deeplab.errors import InputError
from axial_deeplab.line_chart import draw_line_chart
from axial_deeplab.serialization import to_plain
from axial_deeplab.training.run_folder import flatten, read_recipe, read_record, read_scores

GROUPS = ("All", "Things", "Stuff")
TOPS = ("top1", "top5")
NOT_COMPARED = ("name", "seed")


def run(arguments: list[str]) -> int:
    """Print one row for each recipe."""
    parser = make_parser("compare", "Compare finished runs; runs that differ in the seed alone share a row.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--plot", metavar="PNG", help="draw the scores over the steps, one curve a run")
    options = parse(parser, arguments)
    runs = [Path(path) for path in options.runs]
    print(format_comparison(runs))
    if options.plot is not None:
        write_png(Path(options.plot), draw_scores(runs))
    return 0


def draw_scores(runs: Sequence[Path]) -> Image.Image:
    """Draw the score of each run over its steps, named by folder.

    Raises:
        InputError: If a run has kept no scores, or two folders have one name.
    """
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise InputError(f"curves are named by folder, and these have one name: {', '.join(map(str, runs))}")
    classifies = read_recipe(runs[0]).task == "classification"
    monitor, title = ("val/top1", "top-1 accuracy (%)") if classifies else ("val/pq", "panoptic quality (PQ, %)")
    curves = {name: read_scores(run, monitor) for name, run in zip(names, runs, strict=True)}
    return draw_line_chart(curves, title=title, label="step")


def format_comparison(runs: Sequence[Path]) -> str:
    """Return PQ or accuracy in percent as mean and standard deviation over seeds, by recipe.

    Raises:
        InputError: If a folder holds no finished run, or the runs are of different tasks.
    """
    tasks = {read_recipe(run).task for run in runs}
    if len(tasks) > 1:
        raise InputError(f"runs of different tasks have no score in common: {', '.join(sorted(tasks))}")
    columns = TOPS if tasks == {"classification"} else tuple(f"PQ {group}" for group in GROUPS)
    fields = [_list_fields(run) for run in runs]
    differing = [name for name in fields[0] if len({str(each.get(name)) for each in fields}) > 1]
    results: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run, each in zip(runs, fields, strict=True):
        row = tuple(f"{name}={each.get(name)}" for name in differing)
        results.setdefault(row, []).append(read_record(run / "result.json"))
    lines = ["seeds  " + "".join(f"{column:<18}" for column in columns) + "differing fields"]
    for row, records in results.items():
        scores = (_summarize([_read_score(record, column) for record in records]) for column in columns)
        lines.append(f"{len(records):<7}" + "".join(f"{score:<18}" for score in scores) + (" ".join(row) or "none"))
    return "\n".join(lines)


def _list_fields(run: Path) -> dict[str, Any]:
    fields = flatten(to_plain(read_recipe(run)))
    return {name: value for name, value in fields.items() if name not in NOT_COMPARED}


def _read_score(record: dict[str, Any], column: str) -> float | None:
    """Return a score in percent, `None` where there is none."""
    score = record[column] if column in TOPS else record[column.removeprefix("PQ ")]["pq"]
    return None if score is None else 100 * score


def _summarize(scores: list[float | None]) -> str:
    values = [score for score in scores if score is not None]
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} +- {statistics.stdev(values):.1f}"
