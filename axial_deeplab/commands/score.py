"""`axial-deeplab score`: score prediction files on disk."""

from pathlib import Path

from axial_deeplab.commands.parsing import add_scoring, make_parser, parse
from axial_deeplab.data.files import write_json


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
    add_scoring(parser)
    options = parse(parser, arguments)

    from axial_deeplab.metrics.score_files import score_files

    report = score_files(options.ground_truth, options.predictions, tasks=options.tasks, processes=options.processes)
    print(report.format_table())
    if options.output is not None:
        write_json(Path(options.output), report.to_json(), indent=2)
    return 0
