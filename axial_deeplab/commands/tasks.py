"""What the task of a checkpoint means for the options of a command."""

from collections.abc import Collection
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from axial_deeplab.errors import InputError


def is_classifier(checkpoint: str) -> bool:
    """Tell whether a checkpoint classifies images, or segments them.

    Raises:
        InputError: If there is no checkpoint.
    """
    from axial_deeplab.checkpoints.load import load_config

    return load_config(checkpoint).task == "classification"


def refuse_options(parser: ArgumentParser, options: Namespace, *, known: Collection[str]) -> None:
    """Refuse options that were given and mean nothing to a classifier.

    Raises:
        InputError: Names the first of them.
    """
    given: dict[str, Any] = vars(options.as_flat())
    defaults = vars(parser.get_defaults().as_flat())
    for name, value in given.items():
        if name not in known and value != defaults.get(name):
            raise InputError(f"--{name} does not go with a checkpoint for classification")
