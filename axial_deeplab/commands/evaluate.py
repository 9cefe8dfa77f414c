"""`axial-deeplab evaluate`: segment a labeled dataset and score it."""

import sys

from axial_deeplab.commands.data_options import add_data_options, open_split
from axial_deeplab.commands.inference_options import add_inference_options, read_inference
from axial_deeplab.commands.parsing import add_scoring, make_parser, parse


def run(arguments: list[str]) -> int:
    """Evaluate and print the table."""
    parser = make_parser("evaluate", "Segment a labeled dataset and score it as its owners do.")
    parser.add_argument("--checkpoint", required=True, help="checkpoint folder, or a trainer's .ckpt")
    add_data_options(parser)
    parser.add_argument("--output", required=True, help="folder for predictions/, report.json and report.html")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--worst", type=int, default=12, help="images that report.html shows (default: 12)")
    add_inference_options(parser)
    add_scoring(parser)
    options = parse(parser, arguments)
    inference = read_inference(options)

    from axial_deeplab.evaluate import evaluate_tasks
    from axial_deeplab.predict import load

    dataset = open_split(options)
    predictor = load(options.checkpoint, options.device, inference=inference)
    report = evaluate_tasks(
        predictor,
        dataset,
        options.output,
        tasks=options.tasks,
        processes=options.processes,
        worst=options.worst,
    )
    print(report.format_table())
    print(f"where it goes wrong: {options.output}/report.html", file=sys.stderr)
    return 0
