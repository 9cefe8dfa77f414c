"""`axial-deeplab recipes`: every experiment with the scores that the paper prints and those that were measured."""

import json
from collections.abc import Sequence
from typing import Any

from axial_deeplab.commands.parsing import make_parser, parse
from axial_deeplab.errors import InputError
from axial_deeplab.serialization import suggest
from axial_deeplab.training.imagenet_recipes import IMAGENET_EXPERIMENTS
from axial_deeplab.training.measured import MeasuredRow, format_scores, read_measured, read_own_rows
from axial_deeplab.training.paper_recipes import EXPERIMENTS
from axial_deeplab.training.published import ROWS, TITLES, PaperRow, Scores
from axial_deeplab.training.published_classes import CLASS_ROWS, CLASS_TITLES, ClassRow
from axial_deeplab.training.recipes import RECIPES

SEGMENTATION = Scores._fields[:5]
"""tuple: The scores that the tables of segmentation print."""


def run(arguments: list[str]) -> int:
    """Print the tables, or JSON."""
    parser = make_parser("recipes", "List the experiments with published and measured scores, in percent.")
    parser.add_argument("--table", help=f"rows of one table: {', '.join([*CLASS_TITLES, *TITLES])} (5 is 5a and 5b)")
    parser.add_argument("--measured", help="JSON file of scores of your own; docs/reproduce.md says what it holds")
    parser.add_argument("--json", action="store_true", help="print a list of objects instead of tables")
    options = parse(parser, arguments)
    measured = read_own_rows() + (check_recipes(options.measured) if options.measured else ())
    rows = list_rows(measured, options.table)
    print(json.dumps(rows, indent=2) if options.json else format_rows(rows))
    return 0


def check_recipes(path: str) -> tuple[MeasuredRow, ...]:
    """Read measured rows and see that there are such recipes.

    Raises:
        InputError: If not, or the file is at fault.
    """
    measured = read_measured(path)
    for number, row in enumerate(measured, 1):
        if row.recipe not in RECIPES:
            raise InputError(
                f"{path}: row {number}: there is no recipe {row.recipe!r}{suggest(row.recipe, list(RECIPES))}"
            )
    return measured


def list_rows(measured: Sequence[MeasuredRow], table: str | None = None) -> list[dict[str, Any]]:
    """Describe the rows of one table; without one those of all, then the recipes that are in none.

    Raises:
        InputError: If there is no such table.
    """
    rows = [row for row in ROWS if table in (None, row.table, row.table.rstrip("ab"))]
    class_rows = [row for row in CLASS_ROWS if table in (None, row.table)]
    if not rows and not class_rows:
        known = ", ".join([*CLASS_TITLES, *TITLES])
        raise InputError(f"there is no table {table!r} of recipes: choose one of {known}")
    listed = [describe_class_row(row, measured) for row in class_rows]
    listed += [describe_published(row, measured) for row in rows]
    if table is None:
        printed = {row.recipe for row in ROWS} | {row.recipe for row in CLASS_ROWS}
        listed += [describe_other(name, measured) for name in RECIPES if name not in printed]
    return listed


def describe_published(row: PaperRow, measured: Sequence[MeasuredRow]) -> dict[str, Any]:
    """Put one row of the paper beside what we count and measure."""
    (experiment,) = (experiment for experiment in EXPERIMENTS if experiment.name == row.recipe)
    own = [
        each
        for each in measured
        if (each.recipe, each.split) == (row.recipe, row.split) and row.scales in (each.scales, "unstated")
    ]
    return {
        "table": row.table,
        "recipe": row.recipe,
        "scales": row.scales,
        "params_m": experiment.params_m,
        "published_params_m": row.params_m,
        "multiply_adds_g": experiment.multi_scale_g if row.scales == "multi" else experiment.multiply_adds_g,
        "published_multiply_adds_g": row.multiply_adds_g,
        "published": dict(zip(SEGMENTATION, row.scores, strict=False)),
        "measured": [_describe_measured(each) for each in own],
        "note": row.note,
    }


def describe_class_row(row: ClassRow, measured: Sequence[MeasuredRow]) -> dict[str, Any]:
    """Put one published row of a classifier beside what we count and measure."""
    (experiment,) = (experiment for experiment in IMAGENET_EXPERIMENTS if experiment.name == row.recipe)
    return {
        "table": row.table,
        "recipe": row.recipe,
        "scales": "single",
        "params_m": experiment.params_m,
        "published_params_m": row.params_m,
        "multiply_adds_g": experiment.multiply_adds_g,
        "published_multiply_adds_g": row.multiply_adds_g,
        "published": {"top1": row.top1},
        "measured": [_describe_measured(each) for each in measured if each.recipe == row.recipe],
        "note": row.note,
    }


def describe_other(name: str, measured: Sequence[MeasuredRow]) -> dict[str, Any]:
    """Describe a recipe without published scores."""
    summary = (RECIPES[name].__doc__ or "").splitlines()[0]
    own = [_describe_measured(row) for row in measured if row.recipe == name]
    return {"table": None, "recipe": name, "published": None, "measured": own, "note": summary}


def _describe_measured(row: MeasuredRow) -> dict[str, Any]:
    circumstances = {"scales": row.scales, "hardware": row.hardware, "date": row.date, "commit": row.commit}
    return row.scores._asdict() | circumstances


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Lay the rows out for people, by table: our counts, the paper's in parentheses, its scores, those measured."""
    blocks = []
    for table, title in (CLASS_TITLES | TITLES).items():
        if chosen := [row for row in rows if row["table"] == table]:
            head = _CLASS_HEAD if table in CLASS_TITLES else _HEAD
            lines = [f"table {table}: {title}", head, *(_format_published(row) for row in chosen)]
            blocks.append("\n".join(lines))
    if others := [row for row in rows if row["table"] is None]:
        lines = [f"{row['recipe']:<48}{_format_measured(row):<48}{row['note']}".rstrip() for row in others]
        blocks.append("\n".join([f"in no table\n{'recipe':<48}{'measured':<48}what it is", *lines]))
    return "\n\n".join(blocks)


_HEAD = (
    f"{'recipe':<48}{'scales':<10}{'params (paper)':<19}{'mult-adds (paper)':<23}"
    f"{'PQ':<8}{'things':<8}{'stuff':<8}{'AP':<8}{'mIoU':<8}measured"
)


_CLASS_HEAD = f"{'recipe':<48}{'scales':<10}{'params (paper)':<19}{'mult-adds (paper)':<23}{'top-1':<8}measured"


def _format_published(row: dict[str, Any]) -> str:
    params = f"{row['params_m']:.1f}M" + _parenthesize(row["published_params_m"])
    multiply_adds = f"{row['multiply_adds_g']:.1f}G" + _parenthesize(row["published_multiply_adds_g"])
    note = f"  ({row['note']})" if row["note"] else ""
    published = "".join(f"{'-' if score is None else f'{score:.1f}':<8}" for score in row["published"].values())
    return (
        f"{row['recipe']:<48}{row['scales']:<10}{params:<19}{multiply_adds:<23}{published}{_format_measured(row)}{note}"
    )


def _format_measured(row: dict[str, Any]) -> str:
    names = Scores._fields
    texts = [
        f"{format_scores(Scores(**{name: each[name] for name in names}))} ({each['date']})" for each in row["measured"]
    ]
    return "; ".join(texts) or "not yet measured"


def _parenthesize(value: float | None) -> str:
    return "" if value is None else f" ({value:.1f})"
