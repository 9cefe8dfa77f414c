"""The published files that this package can turn into networks: where their owners keep them, and how to fetch one whole."""

import http.client
import os
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from axial_deeplab.data.files import write_atomic
from axial_deeplab.errors import InputError

_DEEPLAB2 = "https://storage.googleapis.com/gresearch/tf-deeplab/checkpoint"
_TIMEOUT, _CHUNK = 60, 1 << 20  # seconds without an answer, bytes


@dataclass(frozen=True)
class PublishedFile:
    """One file.

    Attributes:
        address: Where its owner keeps it.
        form: Which import reads it.
        licence: Of the repository that publishes it; the files themselves state none.
        published: Scores in percent that its owner states.
    """

    address: str
    form: Literal["official-pytorch", "deeplab2"]
    licence: str = "Apache-2.0"
    published: tuple[tuple[str, float], ...] = ()


def _list_encoders() -> dict[str, PublishedFile]:
    strong = "imagenet1k_strong_training_strategy"
    backbones = (
        "resnet50",
        "resnet50_beta",
        "wide_resnet41",
        "max_deeplab_s_backbone",
        "max_deeplab_l_backbone",
        "axial_swidernet_1_1_1",
        "axial_swidernet_1_1_3",
        "axial_swidernet_1_1_4.5",
    )
    names = ["resnet50_imagenet1k", *(f"{backbone}_{strong}" for backbone in backbones)]
    return {name: PublishedFile(f"{_DEEPLAB2}/{name}.tar.gz", "deeplab2") for name in names}


def _list_segmenters() -> dict[str, PublishedFile]:
    scores = {
        "axial_swidernet_1_1_1": (66.1, 82.8),
        "axial_swidernet_1_1_3": (67.1, 83.5),
        "axial_swidernet_1_1_4.5": (68.0, 83.0),
        "max_deeplab_s_backbone": (64.5, 82.2),
        "max_deeplab_l_backbone": (66.3, 83.1),
    }
    return {
        name: PublishedFile(f"{_DEEPLAB2}/{name}.tar.gz", "deeplab2", published=(("pq", pq), ("miou", miou)))
        for backbone, (pq, miou) in scores.items()
        for name in [f"{backbone}_os16_axial_deeplab_cityscapes_trainfine"]
    }


PUBLISHED_FILES: dict[str, PublishedFile] = {
    "axial26s": PublishedFile(
        "http://www.cs.jhu.edu/~hwang157/axial26s.pth", "official-pytorch", published=(("top1", 75.8),)
    ),
    **_list_segmenters(),
    **_list_encoders(),
}
"""dict: Files by the name that their owner gives them. `docs/checkpoints.md` has the same table with more on each.

Source: README of csrhddlam/axial-deeplab; deeplab2, g3doc/projects/axial_deeplab.md and
imagenet_pretrained_checkpoints.md.
"""


def get_origin(name: str) -> dict[str, Any]:
    """Return what the config of an imported checkpoint records of a published file."""
    file = PUBLISHED_FILES[name]
    return {"name": name, "address": file.address, "licence": file.licence, "published": dict(file.published)}


def get_downloads_folder() -> Path:
    """Return where downloads are kept: `axial-deeplab` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "axial-deeplab"


def fetch(name: str, folder: Path) -> Path:
    """Return a published file, downloaded into `folder` unless it is there already.

    The file gets its name only once all of it has arrived.

    Raises:
        InputError: If the address does not answer, or stops in the middle.
    """
    address = PUBLISHED_FILES[name].address
    path = folder / address.rpartition("/")[2]
    if path.is_file():
        print(f"{path} is used; delete it to download it again", file=sys.stderr)
        return path
    print(f"downloading {address} to {path}", file=sys.stderr)
    write_atomic(path, lambda file: _copy(address, file))
    return path


def _copy(address: str, file: BinaryIO) -> None:
    """Copy what an address answers, which must be as long as it says."""
    received = 0
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
            expected = answer.headers.get("Content-Length")
            while chunk := answer.read(_CHUNK):
                received += len(chunk)
                _write(file, chunk)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"{address} cannot be downloaded: {error}; {received} bytes had arrived, none are kept"
        ) from None
    if expected is not None and received != int(expected):
        raise InputError(f"{address} stopped after {received} of {expected} bytes, none are kept: try again")


def _write(file: BinaryIO, chunk: bytes) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise InputError(
            f"the download cannot be written ({error.strerror}): free some space or use --downloads"
        ) from None
