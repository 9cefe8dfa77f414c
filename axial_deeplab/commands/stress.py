"""`axial-deeplab stress`: score a network on images of other sizes than it was trained on."""

from axial_deeplab.commands.data_options import add_data_options, open_split
from axial_deeplab.commands.inference_options import add_inference_options, parse_numbers, read_inference
from axial_deeplab.commands.parsing import make_parser, parse


def run(arguments: list[str]) -> int:
    """Score every scale, print the table."""
    parser = make_parser("stress", "Resize the images of a labeled dataset by each scale, and score what is found.")
    parser.add_argument(
        "--checkpoint", required=True, help="checkpoint folder, hf://USER/REPOSITORY, or a trainer's .ckpt"
    )
    add_data_options(parser)
    parser.add_argument(
        "--scales",
        default="0.25,0.5,0.75,1,1.5,2,3,4",
        help="scales of the images (default: 0.25,0.5,0.75,1,1.5,2,3,4)",
    )
    parser.add_argument("--output", required=True, help="folder for stress.csv and stress.png")
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: a GPU if there is one)")
    add_inference_options(parser, scales=False)
    options = parse(parser, arguments)
    scales, inference = parse_numbers(options.scales), read_inference(options, scales=False)

    from axial_deeplab.predict import load
    from axial_deeplab.stress import format_rows, stress

    dataset = open_split(options)
    predictor = load(options.checkpoint, options.device, inference=inference)
    print(format_rows(stress(predictor, dataset, scales, options.output)))
    return 0
