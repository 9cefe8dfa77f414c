"""Where each image of a split lies in tar shards: a list beside them, so that any image is one read at a known place."""

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path

import numpy as np

from axial_deeplab.data.files import write_json
from axial_deeplab.data.image_folder import SUFFIXES
from axial_deeplab.errors import InputError

_COLUMNS = ("names", "labels", "offsets", "sizes")


@dataclass(frozen=True)
class ShardIndex:
    """The images of a split in the order of the shards.

    Attributes:
        files: Names of the shards.
        lengths: Bytes of each shard.
        counts: Images of each shard.
        names: Name of each image within its shard, bytes [images].
        labels: Its class, int64 [images].
        offsets: Where its file begins in the shard, int64 [images].
        sizes: Bytes of its file, int64 [images].
        shards: Number of the shard that holds it, int64 [images].
    """

    files: tuple[str, ...]
    lengths: tuple[int, ...]
    counts: tuple[int, ...]
    names: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    shards: np.ndarray


def find_shards(root: Path, split: str) -> list[Path]:
    """Return ROOT/SPLIT-*.tar in the order of their names."""
    return sorted(root.glob(f"{split}-*.tar"))


def locate_index(root: Path, split: str) -> Path:
    """Return where the index of a split lies."""
    return root / f"{split}-index.json"


def read_index(root: Path, split: str) -> ShardIndex:
    """Read the index of a split and hold the shards against it: all there, none shorter or longer than it was.

    Raises:
        InputError: The index is absent or no index, or a shard is absent or has another length; names it.
    """
    path = locate_index(root, split)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        shards, images = content["shards"], content["images"]
        files, lengths, counts = (tuple(shard[key] for shard in shards) for key in ("file", "bytes", "images"))
        columns = [np.array([os.fsencode(name) for name in images["names"]])]
        columns += [np.array(images[key], np.int64) for key in _COLUMNS[1:]]
        if not sum(counts) or {len(column) for column in columns} != {sum(counts)}:
            raise ValueError("its numbers of images differ")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: `axial-deeplab dataset shards {root}` writes it") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no index of shards ({error}): write the shards again") from error
    for file, length in zip(files, lengths, strict=True):
        _check_length(root / file, length)
    columns.append(np.repeat(np.arange(len(counts)), counts))
    return ShardIndex(files, lengths, counts, *columns)


def write_index(root: Path, split: str) -> ShardIndex:
    """Read through the shards of a split and write their index beside them.

    Raises:
        InputError: A shard is cut short or is not in WebDataset's form; names it.
    """
    paths = find_shards(root, split)
    if not paths:
        raise InputError(f"{root} has no {split}-*.tar")
    rows = [list(scan_shard(path)) for path in paths]
    for path, part in zip(paths, rows, strict=True):
        if not part:
            raise InputError(f"{path} holds no image: remove it")
    columns = dict(zip(_COLUMNS, zip(*chain.from_iterable(rows), strict=True), strict=True))
    shards = [
        {"file": path.name, "bytes": path.stat().st_size, "images": len(part)}
        for path, part in zip(paths, rows, strict=True)
    ]
    write_json(locate_index(root, split), {"shards": shards, "images": columns})
    return read_index(root, split)


def scan_shard(path: Path) -> Iterator[tuple[str, int, int, int]]:
    """Yield name, class, offset and size of each image of a shard in WebDataset's form: files KEY.jpg and KEY.cls.

    Files of a sample follow each other; those with other endings are passed over.

    Raises:
        InputError: The shard is cut short, or no tar, or an image has no class; names it.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for key, members in groupby(
                filter(tarfile.TarInfo.isfile, tar), lambda member: _split_name(member.name)[0]
            ):
                yield _index_sample(tar, key, {_split_name(member.name)[1]: member for member in members})
        _check_end(path)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path} cannot be read to its end ({error}): it was cut short; copy it again") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}: it must hold KEY.jpg and KEY.cls, a number") from error


def _split_name(name: str) -> tuple[str, str]:
    """Return key and ending: what lies before the first dot of the last part of the path, and what lies behind it."""
    folder, slash, file = name.rpartition("/")
    stem, _, ending = file.partition(".")
    return f"{folder}{slash}{stem}", ending.lower()


def _index_sample(tar: tarfile.TarFile, key: str, members: dict[str, tarfile.TarInfo]) -> tuple[str, int, int, int]:
    image = next((member for ending, member in members.items() if f".{ending}" in SUFFIXES), None)
    if image is None or "cls" not in members:
        raise ValueError(f"{key} has no {'image' if image is None else 'class'}")
    text = tar.extractfile(members["cls"]).read()  # type: ignore[union-attr]  # it is a file
    if not text.strip().isdigit():
        raise ValueError(f"the class of {key} is {text[:20]!r}")
    return image.name, int(text), image.offset_data, image.size


def _check_end(path: Path) -> None:
    """Check that a tar ends as tars do, with 1024 zeros, and has whole blocks."""
    with path.open("rb") as file:
        file.seek(-1024, os.SEEK_END)
        if file.read().strip(b"\0") or file.tell() % 512:
            raise tarfile.ReadError("its end mark is missing")


def _check_length(path: Path, length: int) -> None:
    try:
        actual = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), but the index names it") from error
    if actual != length:
        fault = "was cut short; copy it again" if actual < length else "is not the one of the index; write that again"
        raise InputError(f"{path} has {actual} bytes, not {length}: it {fault}")
