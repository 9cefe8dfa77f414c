"""Read images with one class each from tar shards of WebDataset's form: few large files instead of many small ones."""

import os
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from axial_deeplab.data.classification.categories import make_categories, read_class_names
from axial_deeplab.data.classification.decode import decode_image
from axial_deeplab.data.classification.records import ClassifiedImage, EncodedImage
from axial_deeplab.data.classification.shard_index import read_index
from axial_deeplab.errors import InputError

OPEN_SHARDS = 64
"""int: Shards that a process keeps open."""


class ClassifiedShards(Dataset[ClassifiedImage]):
    """The images of a split in shards, in random access by the index beside them.

    A process may inherit this object or get it pickled: a read names its place in the shard and moves no shared position.

    Attributes:
        categories: The classes, numbered as in the shards.
        folders: The names of the classes' folders.
        parts: Images of each shard.
    """

    def __init__(self, root: Path | str, split: str) -> None:
        """Read the index.

        Args:
            root: The folder of the shards SPLIT-*.tar, of SPLIT-index.json and of `classes.json`, which names the classes in
                their order; without it they are called by their numbers.
            split: The name of the split, such as "train".

        Raises:
            InputError: The index or a shard is absent or not whole, or a class has no image or no name.
        """
        self._root, self._handles = Path(root), dict[str, int]()
        self._index = read_index(self._root, split)
        self.parts = self._index.counts
        names = read_class_names(self._root)
        present = set(self._index.labels.tolist())
        self.folders = tuple(names) or tuple(str(label) for label in range(max(present) + 1))
        if unnamed := present - set(range(len(self.folders))):
            raise InputError(f"{root}: {split} has class {min(unnamed)}, but classes.json names {len(self.folders)}")
        if empty := [folder for label, folder in enumerate(self.folders) if label not in present]:
            raise InputError(f"{root}: {split} has no image of class {empty[0]}")
        self.categories = make_categories(self.folders, names)

    def __len__(self) -> int:
        return len(self._index.labels)

    def __getitem__(self, index: int) -> ClassifiedImage:
        """Decode an image.

        Raises:
            InputError: It cannot be read; names it.
        """
        data, label, file_name = self.read(index)
        return ClassifiedImage(decode_image(data, file_name), label, file_name)

    def read(self, index: int) -> EncodedImage:
        """Return the file of an image as it is.

        Raises:
            InputError: It cannot be read; names it and the shard.
        """
        shards = self._index
        name, label, offset, size = (
            column[index] for column in (shards.names, shards.labels, shards.offsets, shards.sizes)
        )
        shard = self._root / shards.files[int(shards.shards[index])]
        try:
            data = os.pread(self._open(shard), int(size), int(offset))
        except OSError as error:
            raise InputError(f"{os.fsdecode(name)} in {shard} cannot be read ({error.strerror})") from error
        if len(data) < size:
            raise InputError(f"{os.fsdecode(name)} lies beyond the end of {shard}: it was cut short; copy it again")
        return EncodedImage(data, int(label), os.fsdecode(name))

    def _open(self, shard: Path) -> int:
        """Return a descriptor of a shard; of too many, the one used longest ago is closed."""
        handle = self._handles.pop(str(shard), None)
        if handle is None:
            handle = os.open(shard, os.O_RDONLY)
            if len(self._handles) == OPEN_SHARDS:
                os.close(self._handles.pop(next(iter(self._handles))))
        self._handles[str(shard)] = handle
        return handle

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handles": {}}

    def __del__(self) -> None:
        for handle in self._handles.values():
            os.close(handle)
