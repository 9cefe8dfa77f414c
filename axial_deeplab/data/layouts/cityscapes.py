"""Cityscapes, as its owners ship it, with the official panoptic files or straight from the instance ids.

```
leftImg8bit/train/CITY/CITY_000000_000019_leftImg8bit.png
gtFine/train/CITY/CITY_000000_000019_gtFine_instanceIds.png, CITY_000000_000019_gtFine_labelIds.png
gtFine/cityscapes_panoptic_train.json, cityscapes_panoptic_train/*_gtFine_panoptic.png        (or ..._train_trainId)
```

The panoptic files are what `csCreatePanopticImgs` writes; where they are absent, its rule is applied as images are read. The
JSON names images that do not exist (`*_gtFine_leftImg8bit.png`), so images are found by their id. The classes are always the
19 that are scored, with the labels of the benchmark as ids.

Source: mcordts/cityscapesScripts, preparation/createPanopticImgs.py.
"""

from pathlib import Path

import numpy as np

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.cityscapes_scoring import INSTANCES_PER_LABEL
from axial_deeplab.data.convert.label_images import read_label_image
from axial_deeplab.data.layouts.split import (
    ImageEntry,
    ImageFile,
    SplitIndex,
    SplitPaths,
    find_folder,
    list_files,
    match_ids,
    refuse_unlabeled,
)
from axial_deeplab.data.panoptic_json import read_panoptic_json
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

IMAGES, LABELS = "leftImg8bit", "gtFine"
IMAGE_ENDING = "_leftImg8bit.png"
INSTANCE_ENDING, LABEL_ENDING = "_gtFine_instanceIds.png", "_gtFine_labelIds.png"


def is_cityscapes(root: Path) -> bool:
    """Tell whether a folder looks like Cityscapes."""
    return (root / IMAGES).is_dir() or (root / LABELS).is_dir()


def index_cityscapes(root: Path, split: str) -> SplitIndex:
    """Index a split by the panoptic JSON if there is one, else by the instance ids.

    Raises:
        InputError: There is no such split, it has no labels, a file is malformed, or images and labels do not go together.
    """
    images = _find_images(root, split)
    if images.name == "test":  # gtFine/test holds dummies
        raise refuse_unlabeled(root, split, images)
    categories = load_catalog("cityscapes")
    by_train_id = tuple(category._replace(id=number) for number, category in enumerate(categories))
    for suffix, listed in (("", categories), ("_trainId", by_train_id)):
        annotations = root / LABELS / f"cityscapes_panoptic_{images.name}{suffix}.json"
        if annotations.is_file():
            return _index_json(images, annotations, listed)._replace(categories=categories)
    labels = root / LABELS / images.name
    if not labels.is_dir():
        raise InputError(
            f"{labels} is missing, and so is {LABELS}/cityscapes_panoptic_{images.name}.json: unzip gtFine_trainvaltest.zip"
        )
    return _index_instance_ids(images, labels, categories)


def list_cityscapes_images(root: Path, split: str) -> list[ImageFile]:
    """List the images of a split, with or without labels, by id.

    Raises:
        InputError: There is no such split.
    """
    folder = _find_images(root, split)
    return [ImageFile(folder / name, key, name) for key, name in list_files(folder, IMAGE_ENDING).items()]


def check_label_ids(instances: Path) -> None:
    """Raise InputError if the file of label ids beside a file of instance ids, if there is one, says something else.

    Args:
        instances: A file `*_gtFine_instanceIds.png`.
    """
    path = instances.with_name(instances.name.removesuffix(INSTANCE_ENDING) + LABEL_ENDING)
    if not path.is_file():
        return
    ids, labels = (read_label_image(file, str(file)) for file in (instances, path))
    expected = np.where(ids < INSTANCES_PER_LABEL, ids, ids // INSTANCES_PER_LABEL)
    if labels.shape != ids.shape:
        raise InputError(f"{path} and {instances} differ in size: take both from gtFine_trainvaltest.zip")
    if (differing := labels != expected).any():
        pair = f"{labels[differing][0]} and {ids[differing][0]}"
        raise InputError(
            f"{path} and {instances} differ, in a pixel with {pair}: take both from gtFine_trainvaltest.zip"
        )


def _find_images(root: Path, split: str) -> Path:
    folder = find_folder(root / IMAGES, split)
    if folder is None:
        found = sorted(path.name for path in (root / IMAGES).glob("*/"))
        raise InputError(f"{root / IMAGES / split} is missing: {root / IMAGES} has {', '.join(found) or 'no split'}")
    return folder


def _index_json(images: Path, annotations: Path, categories: tuple[Category, ...]) -> SplitIndex:
    masks = annotations.with_suffix("")
    if not masks.is_dir():
        raise InputError(
            f"{masks} is missing: {annotations} needs the PNGs in it; write both again, or remove the JSON"
        )
    content = read_panoptic_json(annotations, categories=categories)
    names = list_files(images, IMAGE_ENDING)
    labels = {str(image_id): annotation.file_name for image_id, annotation in content.annotations.items()}
    match_ids(names, labels, (images, annotations))
    entries = (
        ImageEntry(image_id, names[str(image_id)], annotation.file_name, annotation.segments)
        for image_id, annotation in content.annotations.items()
    )
    return SplitIndex(categories, SplitPaths(images, annotations, masks), tuple(entries))


def _index_instance_ids(images: Path, labels: Path, categories: tuple[Category, ...]) -> SplitIndex:
    names, label_names = list_files(images, IMAGE_ENDING), list_files(labels, INSTANCE_ENDING)
    if not label_names:
        raise InputError(f"{labels} has no *{INSTANCE_ENDING}: unzip gtFine_trainvaltest.zip")
    match_ids(names, label_names, (images, labels))
    check_label_ids(labels / next(iter(label_names.values())))  # files of one set are at fault together
    entries = (ImageEntry(key, name, label_names[key], None) for key, name in names.items())
    return SplitIndex(categories, SplitPaths(images, labels, labels), tuple(entries))
