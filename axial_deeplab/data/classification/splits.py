"""Open the splits of a set of classified images, in folders or in shards."""

from pathlib import Path

from axial_deeplab.data.classification.categories import check_same_classes
from axial_deeplab.data.classification.image_tree import ImageTree
from axial_deeplab.data.classification.shard_index import find_shards
from axial_deeplab.data.classification.shards import ClassifiedShards


def open_split(root: Path | str, split: str) -> ImageTree | ClassifiedShards:
    """Open ROOT/SPLIT-*.tar if there are such files, else the folder ROOT/SPLIT.

    Raises:
        InputError: The split cannot be found or is not complete.
    """
    return ClassifiedShards(root, split) if find_shards(Path(root), split) else ImageTree(root, split)


def open_classified(
    root: Path | str, train_split: str, val_split: str
) -> tuple[ImageTree | ClassifiedShards, ImageTree | ClassifiedShards]:
    """Open the split to learn from and the one to score.

    Raises:
        InputError: A split cannot be found or is not complete, or they differ in classes.
    """
    train, val = (open_split(root, split) for split in (train_split, val_split))
    check_same_classes(Path(root), (train_split, val_split), (train.folders, val.folders))
    return train, val
