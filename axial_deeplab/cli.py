"""The command line: finds the command and turns what went wrong into an exit status.

0 done; 1 a fault of this program, with a traceback; 2 bad input or partly done, with one line that says which; 130 Ctrl-C.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from axial_deeplab.errors import InputError
from axial_deeplab.serialization import suggest

COMMANDS = {
    "train": "train a network by a recipe",
    "evaluate": "segment or classify a labeled dataset with a checkpoint and score it",
    "predict": "segment or classify images with a checkpoint",
    "score": "score prediction files on disk",
    "models": "list the networks with their sizes and costs",
    "stress": "score a checkpoint on images of other sizes",
    "recipes": "list the experiments with published and measured scores",
    "compare": "compare the scores of finished runs",
    "dataset": "convert and check your own data for training",
    "import": "turn published weights into a checkpoint",
}
"""dict: Each name is a module of `axial_deeplab.commands` with a function `run`, imported only when it is called."""

MODULES = {"import": "import_weights"}
"""dict: Names of modules where Python does not allow the command's."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = run_command(arguments)
        sys.stdout.flush()
    except InputError as error:
        print(f"axial-deeplab: {describe_error(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("axial-deeplab: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def describe_error(error: InputError) -> str:
    """Return the message in one line; of an error in a worker of a data loader, what stands after the worker's traceback."""
    return " ".join(str(error).rpartition(f"{InputError.__module__}.{InputError.__name__}: ")[2].split())


def run_command(arguments: list[str]) -> int:
    """Import and run the command that the first argument names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(format_help())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        raise InputError(f"there is no command {name!r}{suggest(name, list(COMMANDS))}")
    command = importlib.import_module(f"axial_deeplab.commands.{MODULES.get(name, name)}")
    status: int = command.run(rest)
    return status


def format_help() -> str:
    """List the commands."""
    rows = [f"  {name:<10}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        ["usage: axial-deeplab COMMAND ...", "", *rows, "", "axial-deeplab COMMAND --help says what each one takes."]
    )
