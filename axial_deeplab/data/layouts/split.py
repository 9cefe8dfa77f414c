"""What a layout finds of a split: its classes, its folders, one entry an image; and what all layouts share."""

from pathlib import Path
from typing import NamedTuple

from axial_deeplab.data.panoptic_json import ImageId
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, Segment

SPLIT_NAMES = (("train", "train2017", "training"), ("val", "val2017", "validation"), ("test", "test2017", "testing"))
"""tuple: The same split in the words of different data sets."""


class SplitPaths(NamedTuple):
    """Where the parts of a split are: the folder of images, the JSON (or `masks` again), the folder of label images."""

    images: Path
    annotations: Path
    masks: Path


class ImageEntry(NamedTuple):
    """One annotated image; the names are relative to the folders of the split, with `/`.

    `segments` is None where the label image alone says what is in it (instance ids of Cityscapes). Pixels of the segment ids
    in `void` do not count.
    """

    image_id: ImageId
    file_name: str
    label_name: str
    segments: tuple[Segment, ...] | None
    void: frozenset[int] = frozenset()


class SplitIndex(NamedTuple):
    """A split with labels: its classes by contiguous id, its folders, its images."""

    categories: tuple[Category, ...]
    paths: SplitPaths
    images: tuple[ImageEntry, ...]


class ImageFile(NamedTuple):
    """An image of a split that may have no labels; `image_id` and `file_name` are what a server wants to read back."""

    path: Path
    image_id: ImageId
    file_name: str


def list_names(split: str) -> list[str]:
    """Return the names under which a split may be found: its own first, then those of other data sets."""
    return [split, *(name for names in SPLIT_NAMES if split in names for name in names if name != split)]


def find_folder(parent: Path, split: str) -> Path | None:
    """Return the folder of a split below `parent`, under any of its names, or None."""
    return next((parent / name for name in list_names(split) if (parent / name).is_dir()), None)


def list_files(folder: Path, ending: str) -> dict[str, str]:
    """Return the files at any depth whose names end so, relative to the folder, by their names without the ending.

    Raises:
        InputError: Two have the same name; names both.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob(f"*{ending}")):
        key, name = path.name.removesuffix(ending), path.relative_to(folder).as_posix()
        if not path.name.startswith(".") and found.setdefault(key, name) != name:
            raise InputError(f"{path} has the same id as {folder / found[key]}: keep one of them")
    return found


def refuse_unlabeled(root: Path, split: str, images: Path) -> InputError:
    """Return the error for a split whose owners keep the labels."""
    return InputError(
        f"{root}: the split '{split}' comes without labels, nothing can be learned or scored: "
        f"axial-deeplab predict segments {images}"
    )


def match_ids(images: dict[str, str], labels: dict[str, str], where: tuple[Path, Path]) -> None:
    """Raise InputError unless images and labels, by id, belong together.

    Args:
        images: File names of the images.
        labels: File names of the labels.
        where: The folder of the images, and the folder or the JSON of the labels.
    """
    for present, absent, folder, other in ((images, labels, *where), (labels, images, where[1], where[0])):
        if lonely := sorted(present.keys() - absent.keys()):
            raise InputError(
                f"{folder}: {len(lonely)} of {len(present)} have no partner in {other} "
                f"(the first is {lonely[0]}): add what is missing or remove them"
            )
