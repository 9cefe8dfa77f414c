"""Read a set in which the folder of an image is its class: ROOT/SPLIT/CLASS/IMAGE."""

import os
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from axial_deeplab.data.classification.categories import make_categories, read_class_names
from axial_deeplab.data.classification.decode import decode_image
from axial_deeplab.data.classification.records import ClassifiedImage, EncodedImage
from axial_deeplab.data.image_folder import SUFFIXES
from axial_deeplab.errors import InputError


class ImageTree(Dataset[ClassifiedImage]):
    """The images of a split, by class and name. Names are listed at once, images are read when they are asked for.

    Attributes:
        categories: The classes, numbered in the order of the folders' names.
        folders: The name of each class's folder.
        parts: The number of images: they are one part.
    """

    def __init__(self, root: Path | str, split: str) -> None:
        """List the images.

        Args:
            root: The folder of the set. `classes.json` or `LOC_synset_mapping.txt` in it may name the classes.
            split: The name of the split, such as "train".

        Raises:
            InputError: There is no such split, it has no class, or a class has no image.
        """
        self._folder = Path(root) / split
        self.folders = _list_classes(self._folder)
        self.categories = make_categories(self.folders, read_class_names(Path(root)))
        files, labels = [], []
        for label, folder in enumerate(self.folders):
            names = _list_images(self._folder / folder)
            files += [os.fsencode(f"{folder}/{name}") for name in names]
            labels += [label] * len(names)
        # Arrays, not lists: processes that load images share their memory, which counting references would copy.
        self._files, self._labels = np.array(files), np.array(labels)
        self.parts: tuple[int, ...] = (len(labels),)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> ClassifiedImage:
        """Decode an image.

        Raises:
            InputError: It cannot be read; names it.
        """
        data, label, file_name = self.read(index)
        return ClassifiedImage(decode_image(data, str(self._folder / file_name)), label, file_name)

    def read(self, index: int) -> EncodedImage:
        """Return the file of an image as it is.

        Raises:
            InputError: It cannot be read; names it.
        """
        file_name = os.fsdecode(self._files[index])
        try:
            data = (self._folder / file_name).read_bytes()
        except OSError as error:
            raise InputError(f"{self._folder / file_name} cannot be read ({error.strerror})") from error
        return EncodedImage(data, int(self._labels[index]), file_name)


def _list_classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist: images are looked for in {folder}/CLASS/IMAGE")
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise InputError(f"{folder} has no folder of a class: images are looked for in {folder}/CLASS/IMAGE")
    return tuple(names)


def _list_images(folder: Path) -> list[str]:
    """List the images in a folder and below, relative to it, sorted; hidden ones are passed over."""
    names: list[str] = []
    for below, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] != "."]
        prefix = Path(below).relative_to(folder)
        names += [(prefix / name).as_posix() for name in files if name[0] != "." and name.lower().endswith(SUFFIXES)]
    if not names:
        raise InputError(f"{folder} has no image: remove the folder, or bring the images of the class")
    return sorted(names)
