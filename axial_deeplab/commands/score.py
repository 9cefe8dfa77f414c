"""`axial-deeplab score`: score prediction files on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from axial_deeplab.commands.parsing import add_scoring, make_parser, parse
from axial_deeplab.data.files import write_json
from axial_deeplab.errors import InputError

if TYPE_CHECKING:
    from axial_deeplab.metrics.task_scores import TaskReport


def run(arguments: list[str]) -> int:
    """Score, print the table, write the report."""
    parser = make_parser("score", "Score prediction files as the official evaluators do.")
    parser.add_argument(
        "--ground-truth",
        required=True,
        help="COCO JSON of the truth, panoptic (PNGs in the folder of its name) or instances; or Cityscapes' gtFine/val",
    )
    parser.add_argument(
        "--predictions",
        required=True,
        help="COCO JSON, panoptic or instance results; or a folder of semantic PNGs, or of Cityscapes' files",
    )
    parser.add_argument("--output", help="JSON file for the report, all classes included")
    parser.add_argument(
        "--html",
        help="file for a report of missed, invented, merged and split objects; of two panoptic JSON files only",
    )
    add_scoring(parser)
    options = parse(parser, arguments)

    from axial_deeplab.metrics.score_files import score_files

    how = {"tasks": options.tasks, "processes": options.processes}
    if options.html is None:
        report = score_files(options.ground_truth, options.predictions, **how)
    else:
        report = score_and_explain(Path(options.ground_truth), Path(options.predictions), Path(options.html), **how)
    print(report.format_table())
    if options.output is not None:
        write_json(Path(options.output), report.to_json(), indent=2)
    return 0


def score_and_explain(
    truth_path: Path, predictions: Path, page: Path, *, tasks: Sequence[str] | None, processes: int
) -> "TaskReport":
    """Score two panoptic JSON files and write the report as a page, without pictures: there are no images.

    Raises:
        InputError: A file is none of that kind, or `score_files` refuses them.
    """
    from axial_deeplab.data.coco_results import holds_results
    from axial_deeplab.data.layouts.mapillary import read_truth
    from axial_deeplab.metrics.error_counts import ErrorCounts
    from axial_deeplab.metrics.score_files import score_panoptic
    from axial_deeplab.report.write import write_report

    for path in (truth_path, predictions):
        if path.is_dir() or (path.exists() and holds_results(path)):
            raise InputError(f"{path} is no COCO panoptic JSON, which --html needs for truth and predictions")
    truth = read_truth(truth_path)
    errors = ErrorCounts(truth.categories)
    report = score_panoptic(truth, predictions, tasks, processes=processes, errors=errors)
    write_report(page, report, errors)
    return report
