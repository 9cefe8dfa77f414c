"""Label images beside images: instance ids of one class, or classes with or without instance ids."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.data.convert.classes import make_categories, read_classes
from axial_deeplab.data.convert.label_images import LABEL_SUFFIXES, list_label_images, list_pictures, read_label_image
from axial_deeplab.data.convert.record import (
    IGNORE,
    REST,
    SPLITS,
    IdMap,
    LabeledImage,
    Size,
    Source,
    check_size,
    take_split,
)
from axial_deeplab.errors import InputError
from axial_deeplab.records import IGNORE_LABEL, Category

INSTANCE_FOLDERS = ("instances", "masks", "labels")
SEMANTIC_FOLDER = "semantic"
_ENDINGS = ("_masks", "_mask", "_labels", "_label", "_instances")
_PICTURE_ENDINGS = ("", "_img", "_image")
_ONLY_CLASS = "object"

Pair = tuple[str, Path, Path, str | None]  # name without suffix, image, label image, split


def read_instances(root: Path, classes: Sequence[str]) -> Source:
    """Find images with maps of instance ids of one class; 0 is the rest.

    Raises:
        InputError: There is none, an image or a label image is alone, or more than one class was given.
    """
    categories = read_classes(classes) if classes else make_categories([_ONLY_CLASS], root)
    if len(categories) > 1:
        raise InputError(f"instance maps hold one class, not {len(categories)}: give one name with --classes")
    images = []
    for key, picture, labels, split in list_instance_pairs(root):
        inner, file_name = take_split(Path(key).with_name(picture.name))
        images.append(LabeledImage(picture, file_name, partial(_load_instances, labels, picture), split or inner))
    if not images:
        raise InputError(
            f"{root} has no instance maps: looked for images/ beside {', '.join(INSTANCE_FOLDERS)}, "
            f"and for label images that end in {', '.join(_ENDINGS)}"
        )
    return Source(categories, tuple(images))


def read_semantic(root: Path, classes: Sequence[str]) -> Source:
    """Find images with maps of classes in semantic/ and perhaps of instance ids in instances/.

    Classes come from `classes` or from classes.json or classes.txt. Values are the ids of the JSON, or the numbers of the
    lines from 0; 255 is not used in training unless a class has it. Without instances all classes are stuff; with them those
    are things that have an instance id other than 0 somewhere, unless the JSON says what is a thing.

    Raises:
        InputError: There is none, an image or a label image is alone, or there is no list of classes.
    """
    source = (
        list(classes) or [str(path) for name in ("json", "txt") if (path := root / f"classes.{name}").is_file()][:1]
    )
    if not source:
        raise InputError(f"{root / 'classes.txt'} does not exist: write the names of the values 0, 1, ... a line each")
    categories = read_classes(source, first_id=0)
    triples = list(_list_triples(root))
    if not triples:
        raise InputError(f"{root} has no semantic maps: looked for images/ beside {SEMANTIC_FOLDER}/")
    if all(instances is None for *_, instances in triples):
        things = set()
    elif source[0].endswith(".json"):
        things = {category.id for category in categories if category.is_thing}
    else:
        things = _find_things((semantic, instances) for (_, _, semantic, _), instances in triples if instances)
    categories = tuple(category._replace(is_thing=category.id in things) for category in categories)
    images = []
    for (key, picture, semantic, split), instances in triples:
        inner, file_name = take_split(Path(key).with_name(picture.name))
        load = partial(_load_semantic, (semantic, instances, picture), categories)
        images.append(LabeledImage(picture, file_name, load, split or inner))
    return Source(categories, tuple(images))


def list_places(root: Path, folder: str) -> list[tuple[Path, str | None]]:
    """Return `root` and root/train and so on, as far as they have `folder`, with the split of each."""
    places: list[tuple[Path, str | None]] = [(root, None), *((root / name, split) for name, split in SPLITS.items())]
    return [(place, split) for place, split in places if (place / folder).is_dir()]


def has_instances(root: Path) -> bool:
    """Tell whether a folder has label images in the places of instance maps."""
    folders = [place / name for place, _ in list_places(root, "images") for name in INSTANCE_FOLDERS]
    if any(list_label_images(folder) for folder in folders if folder.is_dir()):
        return True
    endings = tuple(ending + suffix for ending in _ENDINGS for suffix in LABEL_SUFFIXES)
    return any(path.name.lower().endswith(endings) for path in root.rglob("*"))


def list_instance_pairs(root: Path) -> list[Pair]:
    """Return the images with their instance maps, in folders or beside each other.

    Raises:
        InputError: In folders, one of a pair is missing.
    """
    pairs: list[Pair] = []
    for place, split in list_places(root, "images"):
        for name in INSTANCE_FOLDERS:
            if (place / name).is_dir() and list_label_images(place / name):
                pairs += _pair(place / "images", place / name, split)
                break
    return pairs or _list_neighbors(root)


def _pair(image_folder: Path, label_folder: Path, split: str | None) -> list[Pair]:
    pictures, labels = list_pictures(image_folder), list_label_images(label_folder)
    labels = {key if key in pictures else _strip_ending(key): path for key, path in labels.items()}
    for alone, folder in ((pictures.keys() - labels, label_folder), (labels.keys() - pictures, image_folder)):
        if alone:
            present = pictures.get(min(alone)) or labels[min(alone)]
            raise InputError(f"{present} has no partner {min(alone)}.* in {folder}: add it or remove the file")
    return [(key, pictures[key], path, split) for key, path in labels.items()]


def _strip_ending(key: str) -> str:
    for ending in _ENDINGS:
        if key.endswith(ending):
            return key.removesuffix(ending)
    return key


def _list_neighbors(root: Path) -> list[Pair]:
    """Return pairs such as cell.png with cell_masks.png, or cell_img.png with cell_masks.tif."""
    by_key = list_pictures(root)
    pairs: list[Pair] = []
    for key, labels in by_key.items():
        stem = _strip_ending(key)
        for ending in _PICTURE_ENDINGS if stem != key else ():
            if stem + ending in by_key:
                pairs.append((stem, by_key[stem + ending], labels, None))
                break
    return pairs


def _list_triples(root: Path) -> Iterable[tuple[Pair, Path | None]]:
    for place, split in list_places(root, SEMANTIC_FOLDER):
        folder = place / INSTANCE_FOLDERS[0]
        instances = list_label_images(folder) if folder.is_dir() else {}
        if not (place / "images").is_dir():
            raise InputError(f"{place / 'images'} is missing: put the images there")
        for pair in _pair(place / "images", place / SEMANTIC_FOLDER, split):
            if folder.is_dir() and pair[0] not in instances:
                raise InputError(f"{pair[2]} has no partner {pair[0]}.* in {folder}: add it or remove the file")
            yield pair, instances.get(pair[0])


def _find_things(pairs: Iterable[tuple[Path, Path]]) -> set[int]:
    things: set[int] = set()
    for semantic, instances in pairs:
        values, ids = (read_label_image(path, str(path)) for path in (semantic, instances))
        check_size(semantic, values.shape, (ids.shape[0], ids.shape[1]), image=instances)
        things |= set(np.unique(values[ids > 0]).tolist())
    return things


def _load_instances(labels: Path, picture: Path, size: Size) -> IdMap:
    ids = read_label_image(labels, str(labels))
    check_size(labels, ids.shape, size, image=picture)
    return IdMap(np.where(ids > 0, 0, REST), ids)


def _load_semantic(paths: tuple[Path, Path | None, Path], categories: Sequence[Category], size: Size) -> IdMap:
    semantic, instances, picture = paths
    values = read_label_image(semantic, str(semantic))
    check_size(semantic, values.shape, size, image=picture)
    ids = np.zeros_like(values) if instances is None else read_label_image(instances, str(instances))
    check_size(instances or semantic, ids.shape, size, image=picture)
    return IdMap(_match_values(values, categories, semantic), ids, crowd_zero=instances is not None)


def _match_values(values: NDArray[np.int64], categories: Sequence[Category], path: Path) -> NDArray[np.int64]:
    known = {IGNORE_LABEL: IGNORE} | {category.id: position for position, category in enumerate(categories)}
    found, inverse = np.unique(values, return_inverse=True)
    for value in found.tolist():
        if value not in known:
            raise InputError(
                f"{path}: the value {value} is no class: add it to the class list or set it to {IGNORE_LABEL}"
            )
    return np.array([known[value] for value in found.tolist()])[inverse].reshape(values.shape)
