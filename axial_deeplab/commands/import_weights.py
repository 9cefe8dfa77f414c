"""`axial-deeplab import`: turn weights of the public implementations into a checkpoint of this package."""

from pathlib import Path
from typing import Any, Literal

from axial_deeplab.commands.parsing import make_parser, parse
from axial_deeplab.errors import InputError
from axial_deeplab.serialization import suggest

FORMS = ("official-pytorch", "deeplab2")


def run(arguments: list[str]) -> int:
    """Import one file and print what became of its variables."""
    options = parse(_make_parser(), arguments)

    from axial_deeplab.checkpoints.published import PUBLISHED_FILES, fetch, get_downloads_folder, get_origin

    if options.source in FORMS:
        if options.file is None:
            raise InputError(f"import {options.source} needs a file: axial-deeplab import {options.source} FILE")
        print(_convert(options.source, Path(options.file), options, None))
        return 0
    if options.source not in PUBLISHED_FILES:
        raise InputError(
            f"{options.source!r} is no form and no published file{suggest(options.source, [*FORMS, *PUBLISHED_FILES])}"
        )
    if options.file is not None:
        raise InputError(f"{options.source} is downloaded and takes no file: {options.file} would not be used")
    downloads = get_downloads_folder() if options.downloads is None else Path(options.downloads)
    path = fetch(options.source, downloads)
    try:
        print(_convert(PUBLISHED_FILES[options.source].form, path, options, get_origin(options.source)))
    except InputError as error:
        raise InputError(f"{error}; the download is kept as {path}: delete it to fetch it again") from None
    return 0


def _convert(form: str, path: Path, options: Any, origin: dict[str, Any] | None) -> str:
    from axial_deeplab.checkpoints.importing import Settings, import_deeplab2, import_official_pytorch

    if form == "official-pytorch":
        return import_official_pytorch(path, options.output, classes=options.classes, origin=origin).format()
    pool = options.aspp_pool
    settings = Settings(options.output_stride, tuple(options.aspp_rates), None if pool is None else (pool[0], pool[1]))
    return import_deeplab2(path, options.output, classes=options.classes, settings=settings, origin=origin).format()


def _make_parser() -> Any:
    parser = make_parser("import", "Turn weights of the public implementations into a checkpoint; docs/checkpoints.md.")
    parser.add_argument(
        "source",
        metavar="FORM|NAME",
        help="official-pytorch or deeplab2 before a file, or the name of a published file",
    )
    parser.add_argument(
        "file", nargs="?", help="a .pth file; or a TensorFlow checkpoint: prefix, folder, or archive such as .tar.gz"
    )
    parser.add_argument("--output", required=True, help="folder for model.safetensors and config.json")
    parser.add_argument(
        "--classes", help="coco, cityscapes, or a file: JSON with id, name, isthing; text with names for a classifier"
    )
    parser.add_argument("--downloads", help="folder that keeps downloads (default: axial-deeplab in the user's cache)")
    parser.add_argument(
        "--output-stride", type=Literal[8, 16, 32], default=16, help="of a deeplab2 network (default: 16)"
    )
    parser.add_argument(
        "--aspp-rates", type=int, nargs=3, default=[6, 12, 18], help="dilations of its ASPP (default: 6 12 18)"
    )
    parser.add_argument("--aspp-pool", type=int, nargs=2, help="its averaging window, height and width (default: all)")
    return parser
