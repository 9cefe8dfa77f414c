"""`axial-deeplab score`: panoptic quality of a pair of COCO-panoptic files."""

from pathlib import Path

from axial_deeplab.commands.parsing import make_parser, parse
from axial_deeplab.data.files import write_json
from axial_deeplab.metrics.panoptic_quality import compute_panoptic_quality


def run(arguments: list[str]) -> int:
    """Score, print the table, write the report."""
    parser = make_parser("score", "Score predictions as the official evaluator of COCO panoptic does.")
    parser.add_argument(
        "--ground-truth", required=True, help="JSON of the truth; its PNGs lie in the folder of its name"
    )
    parser.add_argument("--predictions", required=True, help="JSON of the predictions, likewise")
    parser.add_argument("--output", help="JSON file for the report, all classes included")
    options = parse(parser, arguments)
    report = compute_panoptic_quality(options.ground_truth, options.predictions)
    print(report.format_table())
    if options.output is not None:
        write_json(Path(options.output), report.to_json(), indent=2)
    return 0
