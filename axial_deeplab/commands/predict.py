"""`axial-deeplab predict`: segment or classify images, as the checkpoint does."""

import sys

from jsonargparse import Namespace

from axial_deeplab.commands.inference_options import add_inference_options, read_inference
from axial_deeplab.commands.parsing import make_parser, parse
from axial_deeplab.commands.tasks import is_classifier, refuse_options
from axial_deeplab.data.prelabels import PRELABELS
from axial_deeplab.data.submissions import SUBMISSIONS, WRITTEN

CLASS_OPTIONS = ("inputs", "checkpoint", "output", "device")


def run(arguments: list[str]) -> int:
    """Predict for all inputs; exit status 2 if some could not be read."""
    parser = make_parser(
        "predict",
        "Segment images: overlays to look at, and a COCO-panoptic result to work with. Or classify them: the five likeliest "
        "classes of each, printed and in a JSON file.",
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="image file, folder of images, or glob pattern")
    parser.add_argument(
        "--checkpoint", required=True, help="checkpoint folder, hf://USER/REPOSITORY, or a trainer's .ckpt"
    )
    parser.add_argument("--output", required=True, help="folder for overlays/, predictions/ and predictions.json")
    parser.add_argument(
        "--write",
        nargs="+",
        choices=("overlays", *WRITTEN),
        help="overlays and panoptic (the default alone), instances.json in COCO's form, semantic/*.png",
    )
    parser.add_argument("--submission", nargs="+", choices=SUBMISSIONS, default=[], help="files for these servers")
    parser.add_argument(
        "--format", nargs="+", choices=PRELABELS, default=[], help="labels to correct, in a folder of this name"
    )
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    add_inference_options(parser)
    options = parse(parser, arguments)
    inference = read_inference(options)
    if is_classifier(options.checkpoint):
        refuse_options(parser, options, known=CLASS_OPTIONS)
        return classify(options)

    from axial_deeplab.predict import load, predict_files

    write = options.write or ([] if options.submission or options.format else ["overlays", "panoptic"])
    predictor = load(options.checkpoint, options.device, inference=inference)
    summary = predict_files(
        options.inputs,
        predictor,
        options.output,
        write=write,
        submissions=options.submission,
        formats=options.format,
    )
    total = len(summary.done) + len(summary.failed)
    print(f"{len(summary.done)} of {total} images segmented into {options.output}", file=sys.stderr)
    return 2 if summary.failed else 0


def classify(options: Namespace) -> int:
    """Classify all inputs; exit status 2 if some could not be read."""
    from axial_deeplab.classify import ClassPredictor, classify_files
    from axial_deeplab.loading import load

    predictor = load(options.checkpoint, options.device)
    assert isinstance(predictor, ClassPredictor)
    summary = classify_files(options.inputs, predictor, options.output)
    total = len(summary.done) + len(summary.failed)
    print(f"{len(summary.done)} of {total} images classified into {options.output}", file=sys.stderr)
    return 2 if summary.failed else 0
