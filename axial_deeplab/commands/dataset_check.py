"""`axial-deeplab dataset check`: what is wrong with a data set, what is in it, and a recipe fitted to it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from axial_deeplab.commands.parsing import make_parser, parse
from axial_deeplab.errors import InputError

if TYPE_CHECKING:
    from axial_deeplab.data.check.run import DatasetCheck
    from axial_deeplab.data.check.split import DataSource
    from axial_deeplab.training.choosing import Choice

STRIDE_NAMES = {1: "every pixel", 4: "every 4th pixel"}


def run(arguments: list[str]) -> int:
    """Check, print and fit; the status is 2 if there are errors."""
    options = parse(_make_parser(), arguments)
    if options.workers < 0 or options.sample < 0 or options.limit < 1:
        raise InputError("dataset check: --workers and --sample start at 0, --limit at 1")

    from axial_deeplab.data.check.run import check_dataset
    from axial_deeplab.data.check.split import DataSource
    from axial_deeplab.predict import show_progress

    source = DataSource(options.root, **options.data.as_dict())
    check = check_dataset(source, options.splits, workers=options.workers, limit=options.limit, progress=show_progress)
    choice = _fit(check, sample=options.sample, workers=options.workers)
    data = _describe_data(source, options.splits)
    if options.output and choice is not None:
        _write_recipe(Path(options.output), choice, data, check)
    print(json.dumps(_to_json(check, choice), indent=2) if options.json else _format(check, choice))
    if options.output and not options.json:
        print(f"recipe: {options.output}" if choice else f"{options.output} is not written: no image could be used")
    return 2 if check.problems.num_errors else 0


def _make_parser() -> Any:
    parser = make_parser("dataset check", "Name every problem of a data set, count what is in it, fit a recipe to it.")
    parser.add_argument("root", metavar="PATH", help="data set, in one of the layouts of docs/datasets.md")
    parser.add_argument(
        "--splits", nargs="+", default=["train", "val"], help="(default: train val); the recipe fits the first"
    )
    parser.add_argument("--output", help="YAML file to write the fitted recipe to")
    parser.add_argument("--json", action="store_true", help="print an object instead of tables")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes that read images (default: none but this one)"
    )
    parser.add_argument("--limit", type=int, default=20, help="problems of a kind to name (default: 20)")
    parser.add_argument(
        "--sample", type=int, default=24, help="images on which the ceiling is measured (default: 24); 0: not"
    )
    parser.add_argument(
        "--data.images", help="folder of the images, relative to PATH, in an unknown layout; {split} is the split"
    )
    parser.add_argument("--data.annotations", help="JSON file, relative to PATH, in an unknown layout")
    parser.add_argument("--data.layout", default="auto", help="coco, cityscapes or mapillary (default: find out)")
    parser.add_argument("--data.version", help="version of Mapillary Vistas, 1.2 or 2.0")
    return parser


def _fit(check: "DatasetCheck", *, sample: int, workers: int) -> "Choice | None":
    """Fit the first split that has images, or none if none has."""
    from axial_deeplab.training.choosing import Choice, choose_values
    from axial_deeplab.training.fitting import fit_recipe

    for name, statistics in check.statistics.items():
        if statistics.images:
            values = fit_recipe(statistics)
            return (
                choose_values(values, check.splits[name], sample=sample, workers=workers)
                if sample
                else Choice(values, {})
            )
    return None


def _describe_data(source: "DataSource", splits: list[str]) -> dict[str, Any]:
    """Return the fields of the recipe that say where the data is."""
    data = {"root": source.root, "images": source.images, "annotations": source.annotations, "version": source.version}
    layout = {} if source.layout == "auto" else {"layout": source.layout}
    given = {key: value for key, value in data.items() if value is not None}
    return {"dataset": "coco_panoptic", **given, **layout, "train_split": splits[0], **_choose_val(splits[1:])}


def _choose_val(splits: list[str]) -> dict[str, str]:
    """Return the field with the split that scores choose the best weights by: never one for testing while there is another."""
    from axial_deeplab.data.layouts.split import list_names

    names = [*(name for name in splits if name in list_names("val")), *splits]
    return {"val_split": names[0]} if names else {}


def _write_recipe(path: Path, choice: "Choice", data: dict[str, Any], check: "DatasetCheck") -> None:
    from axial_deeplab.data.files import write_atomic
    from axial_deeplab.training.fitting import apply_values, format_recipe

    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path} must end in .yaml: train reads recipes so")
    name = Path(data["root"]).resolve().name
    apply_values(choice.values, data, name)
    categories = next(split.index.categories for split in check.splits.values() if len(split))
    text = format_recipe(choice.values, data, name, categories)
    write_atomic(path, lambda file: file.write(text.encode()))


def _format(check: "DatasetCheck", choice: "Choice | None") -> str:
    from axial_deeplab.data.check.report import format_statistics

    lines = check.problems.format_lines()
    lines += [f"{check.problems.num_errors} errors, {check.problems.num_warnings} warnings"]
    for name, statistics in check.statistics.items():
        lines += ["", f"{name}: {statistics.images} of {len(check.splits[name])} images could be used"]
        lines += format_statistics(statistics) if statistics.images else []
    if choice is None:
        return "\n".join(lines)
    lines += ["", "fitted:"]
    lines += [f"  {value.field} {value.value}: {value.reason}" for value in choice.values]
    return "\n".join([*lines, *_format_ceilings(choice)])


def _format_ceilings(choice: "Choice") -> list[str]:
    if not choice.ceilings:
        return []
    lines = ["", "ceiling: PQ (things, stuff) of perfect heads, which say what the labels say", f"{'heads at':<18}"]
    lines[-1] += "".join(f"{name:<24}" for name in choice.ceilings).rstrip()
    for stride, where in STRIDE_NAMES.items():
        row = [ceilings[stride] for ceilings in choice.ceilings.values()]
        texts = [f"{100 * c.all:.1f} ({100 * c.things:.1f}, {100 * c.stuff:.1f})" for c in row]
        lines.append(f"{where:<18}" + "".join(f"{text:<24}" for text in texts).rstrip())
    return lines


def _to_json(check: "DatasetCheck", choice: "Choice | None") -> dict[str, Any]:
    from axial_deeplab.data.check.report import summarize

    ceilings = choice.ceilings if choice else {}
    return {
        "errors": check.problems.num_errors,
        "warnings": check.problems.num_warnings,
        "problems": check.problems.to_json(),
        "splits": {name: summarize(statistics) for name, statistics in check.statistics.items()},
        "fitted": [value._asdict() for value in choice.values] if choice else [],
        "ceilings": {
            name: {str(stride): ceiling._asdict() for stride, ceiling in by_stride.items()}
            for name, by_stride in ceilings.items()
        },
    }
