"""The package's log: silent unless `AXIAL_DEEPLAB_LOG` names a level, such as "debug" or "info"; then it goes to stderr."""

import logging
import os

from axial_deeplab.errors import InputError

VARIABLE = "AXIAL_DEEPLAB_LOG"


def configure_log() -> None:
    """Follow the environment variable.

    Raises:
        InputError: If it names no level.
    """
    level = os.environ.get(VARIABLE, "").upper()
    if not level:
        return
    if level not in logging.getLevelNamesMapping():
        raise InputError(f"{VARIABLE} must be debug, info, warning or error, not {os.environ[VARIABLE]!r}")
    logger = logging.getLogger("axial_deeplab")
    logger.setLevel(level)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
