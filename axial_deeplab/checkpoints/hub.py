"""Checkpoints on the Hugging Face Hub: `hf://USER/REPOSITORY` stands for a checkpoint folder that is downloaded once."""

import re
from pathlib import Path

from axial_deeplab.checkpoints.hub_files import PROCESSOR
from axial_deeplab.errors import InputError

PREFIX = "hf://"

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?/?")
_FILES = ["config.json", "model.safetensors", PROCESSOR]


def find_checkpoint(path: str | Path) -> Path:
    """Return where a checkpoint lies on this machine; one of the Hub is downloaded into the cache of huggingface_hub.

    Args:
        path: A path, returned as it is, or `hf://USER/REPOSITORY`, with a branch, tag or commit as `...@REVISION`. A folder of
            the repository is not looked into; tokens and cache are those of huggingface_hub (`hf auth login`, `HF_HOME`).

    Raises:
        InputError: If the address is none, or the repository cannot be read and is not in the cache.
    """
    if not str(path).startswith(PREFIX):
        return Path(path)
    match = _ADDRESS.fullmatch(str(path))
    if match is None:
        raise InputError(f"{path} is no address on the Hub: give hf://USER/REPOSITORY or hf://USER/REPOSITORY@REVISION")
    repository, revision = match.groups()

    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # of many kinds: no such repository, no permission, no network, a full disk
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be downloaded ({type(error).__name__}: {reason[:300]})") from error
