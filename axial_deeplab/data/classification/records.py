"""What the readers of classified images give: one image and its class, as a file's bytes or decoded."""

from typing import NamedTuple, Protocol

from torch import Tensor

from axial_deeplab.records import Category


class ClassifiedImage(NamedTuple):
    """One decoded image and its class."""

    image: Tensor  # uint8 [3, height, width], RGB
    label: int  # contiguous class
    file_name: str  # relative to the split, such as "daisy/1.jpg"
    damaged: tuple[str, ...] = ()  # what was wrong with images in whose place this one is given


class EncodedImage(NamedTuple):
    """The bytes of one image file and its class."""

    data: bytes
    label: int  # contiguous class
    file_name: str  # relative to the split, such as "daisy/1.jpg"


class ClassifiedImages(Protocol):
    """The images of a split, in random access.

    `categories[i].id` is i: classes of a folder have no other number.
    """

    categories: tuple[Category, ...]
    parts: tuple[int, ...]  # numbers of images that lie together, such as in one shard, in the order of the images

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> ClassifiedImage: ...

    def read(self, index: int) -> EncodedImage:
        """Return the file as it is, not yet decoded."""
        ...
