"""`axial-deeplab dataset convert`: bring own annotations to the format that training reads."""

from typing import Any

from axial_deeplab.commands.parsing import make_parser, parse

FORMAT_NAMES = ("labelme", "cvat-masks", "coco", "yolo", "instance-maps", "semantic")


def run(arguments: list[str]) -> int:
    """Convert and print what was found."""
    options = parse(_make_parser(), arguments)

    from axial_deeplab.data.convert.write import ConvertOptions, convert_dataset

    choices = ConvertOptions(
        format=options.format,
        classes=tuple(options.classes),
        stuff=tuple(options.stuff),
        things=tuple(options.things),
        unlabeled=options.unlabeled,
        split=options.split,
        seed=options.seed,
        group=options.group,
        copy=options.copy,
    )
    report = convert_dataset(options.input, options.output, choices)
    print(report.format_table())
    if options.split is None and "val" not in report.images:
        print("there is no split val: --split 0.8 makes one")
    return 0


def _make_parser() -> Any:
    parser = make_parser("dataset convert", "Bring annotations of common tools to COCO-panoptic format.")
    parser.add_argument(
        "input", metavar="INPUT", help="folder of images and annotations; docs/datasets.md has the layouts"
    )
    parser.add_argument("--output", required=True, help="folder to make; it must be absent or empty")
    parser.add_argument("--format", choices=FORMAT_NAMES, help="format of INPUT (default: what it looks like)")
    parser.add_argument("--classes", nargs="+", default=[], help="names in their order, or one .txt or .json file")
    parser.add_argument("--stuff", nargs="+", default=[], help="classes that have no separate objects")
    parser.add_argument("--things", nargs="+", default=[], help="classes that have, against what INPUT says")
    parser.add_argument(
        "--unlabeled",
        choices=("background", "void"),
        help="what pixels without annotation become (default: void if a class is stuff, else background)",
    )
    parser.add_argument(
        "--split", type=float, help="share of train, such as 0.8, the rest is val (default: as in INPUT)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another number splits in another way")
    parser.add_argument("--group", help="regular expression: names with the same first group stay in one split")
    parser.add_argument("--copy", action="store_true", help="copy images instead of hard-linking them")
    return parser
