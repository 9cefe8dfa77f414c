"""`axial-deeplab dataset`: commands on datasets."""

import importlib

from axial_deeplab.errors import InputError
from axial_deeplab.serialization import suggest

DATASET_COMMANDS = {
    "convert": "bring annotations of common tools to COCO-panoptic format",
    "check": "name every problem of a data set, and fit a recipe to it",
    "shards": "write classified images into tar shards, or the index of shards that have none",
}
"""dict: Each name is a module `axial_deeplab.commands.dataset_NAME` with a function `run`."""


def run(arguments: list[str]) -> int:
    """Run the command that the first argument names; help prints and leaves."""
    if not arguments or arguments[0] in ("-h", "--help"):
        rows = [f"  {name:<10}{summary}" for name, summary in DATASET_COMMANDS.items()]
        print("\n".join(["usage: axial-deeplab dataset COMMAND ...", "", *rows]))
        raise SystemExit(0 if arguments else 2)
    name, *rest = arguments
    if name not in DATASET_COMMANDS:
        raise InputError(f"there is no command dataset {name!r}{suggest(name, list(DATASET_COMMANDS))}")
    status: int = importlib.import_module(f"axial_deeplab.commands.dataset_{name}").run(rest)
    return status
