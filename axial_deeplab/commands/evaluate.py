"""`axial-deeplab evaluate`: segment or classify a labeled dataset, as the checkpoint does, and score it."""

import sys

from jsonargparse import Namespace

from axial_deeplab.commands.data_options import add_data_options, open_split
from axial_deeplab.commands.inference_options import add_inference_options, read_inference
from axial_deeplab.commands.parsing import add_scoring, make_parser, parse
from axial_deeplab.commands.tasks import is_classifier, refuse_options

CLASS_OPTIONS = ("checkpoint", "data.root", "data.split", "output", "device", "processes")


def run(arguments: list[str]) -> int:
    """Evaluate and print the table."""
    parser = make_parser("evaluate", "Segment or classify a labeled dataset and score it as its owners do.")
    parser.add_argument(
        "--checkpoint", required=True, help="checkpoint folder, hf://USER/REPOSITORY, or a trainer's .ckpt"
    )
    add_data_options(parser)
    parser.add_argument("--output", required=True, help="folder for report.json and what belongs to it")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--worst", type=int, default=12, help="images that report.html shows (default: 12)")
    add_inference_options(parser)
    add_scoring(parser)
    options = parse(parser, arguments)
    inference = read_inference(options)
    if is_classifier(options.checkpoint):
        refuse_options(parser, options, known=CLASS_OPTIONS)
        return evaluate_classifier(options)

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


def evaluate_classifier(options: Namespace) -> int:
    """Score a classifier and print the table."""
    from axial_deeplab.classify import ClassPredictor
    from axial_deeplab.data.classification.splits import open_split
    from axial_deeplab.evaluate_classes import evaluate_classes
    from axial_deeplab.loading import load

    images = open_split(options.data.root, options.data.split)
    predictor = load(options.checkpoint, options.device)
    assert isinstance(predictor, ClassPredictor)
    report = evaluate_classes(predictor, images, options.output, processes=options.processes)
    print(report.format_table())
    print(f"which classes are confused: {options.output}/confusion.png", file=sys.stderr)
    return 0
