"""Write images of a folder a class into tar shards of WebDataset's form, the files as they are."""

import io
import secrets
import shutil
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from axial_deeplab.data.classification.categories import NAMES_FILE, check_same_classes
from axial_deeplab.data.classification.image_tree import ImageTree
from axial_deeplab.data.classification.records import EncodedImage
from axial_deeplab.data.classification.shard_index import ShardIndex, write_index
from axial_deeplab.data.files import write_atomic, write_json
from axial_deeplab.errors import InputError


def write_shards(
    root: Path | str, output: Path | str, splits: Sequence[str] = ("train", "val"), *, images_per_shard: int = 1000
) -> dict[str, ShardIndex]:
    """Write the splits of a folder that `ImageTree` reads as SPLIT-000000.tar, SPLIT-000001.tar and so on.

    Beside them lie SPLIT-index.json, where each image is, and `classes.json`, the names in the order of the numbers. Images
    are written in a random order, always the same one, so that every shard has images of many classes. All is written
    beside `output` and put in its place when it is whole.

    Args:
        root: Holds SPLIT/CLASS/IMAGE.
        output: Folder to make.
        splits: Which splits, all with the same classes.
        images_per_shard: Images of all shards but the last of a split.

    Returns:
        The index of each split.

    Raises:
        InputError: A split is at fault, an image cannot be read as a file, `output` is a file or has something in it, or it
            cannot be written.
    """
    output = Path(output)
    if images_per_shard < 1:
        raise InputError(f"a shard must hold at least one image, not {images_per_shard}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists and is not empty: remove it or choose another output")
    trees = {split: ImageTree(root, split) for split in splits}
    first = splits[0]
    for split, tree in trees.items():
        check_same_classes(Path(root), (first, split), (trees[first].folders, tree.folders))
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    try:
        names = {
            folder: category.name
            for folder, category in zip(trees[first].folders, trees[first].categories, strict=True)
        }
        write_json(temporary / NAMES_FILE, names, indent=2)
        indexes = {split: _write_split(temporary, split, tree, images_per_shard) for split, tree in trees.items()}
        _put(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return indexes


def _write_split(folder: Path, split: str, tree: ImageTree, images_per_shard: int) -> ShardIndex:
    order, keys = np.random.default_rng(0).permutation(len(tree)), set[str]()
    for number, start in enumerate(range(0, len(tree), images_per_shard)):
        images = (tree.read(int(index)) for index in order[start : start + images_per_shard])

        def write(file: BinaryIO, images: Iterable[EncodedImage] = images) -> None:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for data, label, file_name in images:
                    key, ending = _make_key(file_name, keys)
                    _add(tar, f"{key}.{ending}", data)
                    _add(tar, f"{key}.cls", str(label).encode())

        write_atomic(folder / f"{split}-{number:06d}.tar", write)
    return write_index(folder, split)


def _make_key(file_name: str, keys: set[str]) -> tuple[str, str]:
    """Return a key that is none of `keys` and joins them, and the ending; a key's last part has no dot in WebDataset."""
    folder, _, name = file_name.rpartition("/")
    stem, _, ending = name.rpartition(".")
    plain = f"{folder}/{stem.replace('.', '_')}".encode(errors="replace").decode()
    key = plain
    count = 1
    while key in keys:
        count += 1
        key = f"{plain}_{count}"
    keys.add(key)
    return key, ending.lower()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _put(temporary: Path, output: Path) -> None:
    """Rename a folder to a name that is free or that of an empty folder."""
    try:
        temporary.replace(output)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error.strerror}): choose another output") from error
