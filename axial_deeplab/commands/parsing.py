"""What the commands share: a parser whose complaints become `InputError`."""

import argparse
import re

from jsonargparse import ArgumentParser, Namespace

from axial_deeplab.errors import InputError
from axial_deeplab.serialization import suggest


def make_parser(command: str, description: str) -> ArgumentParser:
    """Return the parser of one command."""
    return ArgumentParser(prog=f"axial-deeplab {command}", description=description, exit_on_error=False)


def parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    """Parse arguments; `--help` prints and leaves.

    Raises:
        InputError: If they do not fit; the nearest option is offered for an unknown one.
    """
    try:
        return parser.parse_args(arguments)
    except argparse.ArgumentError as error:
        unknown = re.search(r"unrecognized arguments: (--[\w.-]+)", str(error))
        known = [option for action in parser._actions for option in action.option_strings]
        hint = suggest(unknown[1], known) if unknown and len(known) < 30 else ""
        raise InputError(f"{parser.prog.split()[-1]}: {error}{hint}") from None


def add_scoring(parser: ArgumentParser) -> None:
    """Add the options of all commands that score."""
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=("panoptic", "instance", "semantic"),
        help="what to score (default: all that the data allow; instances of COCO need the extra 'eval')",
    )
    parser.add_argument("--processes", type=int, default=1, help="processes that decode and compare (default: 1)")
