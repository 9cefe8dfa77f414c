"""Mapillary Vistas v1.2 and v2.0, as its owners ship it. Written from its description: not tried on the real data.

```
config_v2.0.json
training/images/*.jpg      training/v2.0/panoptic/panoptic_2020.json, *.png
validation/...             testing/images/*.jpg
```

The versions share images and differ in classes; both can lie in one folder, so the version must be said. The classes are
those of the configuration file that are evaluated; the class at position n of its list has the id n + 1 in the panoptic JSON.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from axial_deeplab.data.catalog import parse_categories
from axial_deeplab.data.image_folder import find_images
from axial_deeplab.data.layouts.split import (
    ImageEntry,
    ImageFile,
    SplitIndex,
    SplitPaths,
    find_folder,
    match_ids,
    refuse_unlabeled,
)
from axial_deeplab.data.panoptic_json import (
    ImageId,
    PanopticJson,
    load_object,
    parse_panoptic_json,
    read_panoptic_json,
    take,
)
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

PANOPTIC_FILES = {"1.2": "panoptic_2018.json", "2.0": "panoptic_2020.json"}
"""dict: The name of the panoptic JSON in each version."""


class MapillaryClasses(NamedTuple):
    """What a configuration file says."""

    categories: tuple[Category, ...]  # those that are evaluated
    void: frozenset[int]  # ids of the others
    names: dict[int, frozenset[str]]  # by id, the names of each class, in lower case


def is_mapillary(root: Path) -> bool:
    """Tell whether a folder looks like Mapillary Vistas."""
    patterns = ("config_v*.json", "training/v[0-9]*", "validation/v[0-9]*")
    return any(next(root.glob(pattern), None) for pattern in patterns)


def index_mapillary(root: Path, split: str, version: str) -> SplitIndex:
    """Index a split in one version, "1.2" or "2.0".

    Raises:
        InputError: There is no such version or split, the split has no labels, a file is malformed or of another version,
            or images and annotations do not go together.
    """
    if version not in PANOPTIC_FILES:
        raise InputError(f"data.version of {root} must be one of {', '.join(PANOPTIC_FILES)}, not {version!r}")
    folder = _find_split(root, split)
    if folder.name == "testing":
        raise refuse_unlabeled(root, split, folder / "images")
    classes = read_classes(root / f"config_v{version}.json")
    annotations = folder / f"v{version}" / "panoptic" / PANOPTIC_FILES[version]
    if not annotations.is_file():
        there = ", ".join(sorted(path.name for path in folder.glob("v*/"))) or "no version"
        raise InputError(f"{annotations} is missing: {folder} has {there}; data.version says {version}")
    panoptic = _read_json(annotations, classes)
    names = {image_id: panoptic.images.get(image_id, f"{image_id}.jpg") for image_id in panoptic.annotations}
    match_ids(
        {path.name: path.name for path in find_images([folder / "images"])},
        {name: name for name in names.values()},
        (folder / "images", annotations),
    )
    entries = (
        ImageEntry(image_id, names[image_id], entry.file_name, entry.segments, entry.void)
        for image_id, entry in panoptic.annotations.items()
    )
    return SplitIndex(classes.categories, SplitPaths(folder / "images", annotations, panoptic.masks), tuple(entries))


def list_mapillary_images(root: Path, split: str) -> list[ImageFile]:
    """List the images of a split, with or without labels.

    Raises:
        InputError: There is no such split or no image in it.
    """
    images = find_images([_find_split(root, split) / "images"])
    return [ImageFile(path, path.stem, path.name) for path in images]


def check_classes(images: Sequence[Path], categories: Sequence[Category]) -> None:
    """Check that classes are those that a configuration evaluates, in whatever order, before predictions are submitted.

    Args:
        images: Images where Mapillary Vistas ships them, `ROOT/SPLIT/images/KEY.jpg`: the configurations are in ROOT.
        categories: The classes of the predictions.

    Raises:
        InputError: They are not, or there is no configuration.
    """
    own = {category[:3] for category in categories}
    for root, image in {path.absolute().parents[:3][-1]: path for path in images}.items():
        configs = [path for version in PANOPTIC_FILES if (path := root / f"config_v{version}.json").is_file()]
        if not configs:
            raise InputError(
                f"{image} does not lie where Mapillary Vistas has it, ROOT/testing/images with ROOT/config_v2.0.json, "
                "which says what its classes are: put it there"
            )
        differing = [own ^ {category[:3] for category in read_classes(path).categories} for path in configs]
        if all(differing):
            number, name, _ = min(differing[-1])
            names = " or ".join(map(str, configs))
            raise InputError(f"the classes are not those that {names} evaluates: they differ in '{name}' ({number})")


def read_truth(path: Path) -> PanopticJson:
    """Read the JSON of a truth to score against: of Mapillary Vistas with the classes that its configuration evaluates.

    A file is one of theirs if it lies where they ship it, `ROOT/SPLIT/vVERSION/panoptic/`: the configuration is in ROOT.

    Raises:
        InputError: A file is absent or malformed, or they are of different versions.
    """
    for version, name in PANOPTIC_FILES.items():
        place = path.absolute().parents[:4]
        if path.name == name and len(place) == 4 and place[1].name == f"v{version}":
            return _read_json(path, read_classes(place[3] / f"config_v{version}.json"))
    return read_panoptic_json(path)


def read_classes(path: Path) -> MapillaryClasses:
    """Read a configuration file `config_vVERSION.json`.

    Raises:
        InputError: It is absent or malformed.
    """
    labels = take(load_object(path), "labels", list, str(path))
    counted, void, names = [], set(), {}
    for number, label in enumerate(labels, start=1):
        where = f"{path}, label {number - 1}"
        readable: str = take(label, "readable", str, where)
        names[number] = frozenset({readable.lower(), take(label, "name", str, where).lower()})
        if take(label, "evaluate", bool, where, default=True):
            is_thing: bool = take(label, "instances", bool, where)
            counted.append({"id": number, "name": readable, "isthing": int(is_thing), "color": label.get("color")})
        else:
            void.add(number)
    return MapillaryClasses(parse_categories(counted, path), frozenset(void), names)


def _read_json(path: Path, classes: MapillaryClasses) -> PanopticJson:
    """Read a panoptic JSON, its PNGs beside it; segments of classes that are not evaluated become void."""
    content = load_object(path)
    _check_names(content.pop("categories", []), classes, path)
    void = _take_void(content, classes.void, str(path))
    panoptic = parse_panoptic_json(content, path, categories=classes.categories)
    annotations = {
        image_id: annotation._replace(void=void[image_id]) for image_id, annotation in panoptic.annotations.items()
    }
    return panoptic._replace(annotations=annotations, masks=path.parent)


def _find_split(root: Path, split: str) -> Path:
    folder = find_folder(root, split)
    if folder is None or not (folder / "images").is_dir():
        there = ", ".join(name for name in ("training", "validation", "testing") if (root / name / "images").is_dir())
        raise InputError(f"{root} has no split '{split}' with a folder images: there are {there or 'none'}")
    return folder


def _check_names(entries: Any, classes: MapillaryClasses, path: Path) -> None:
    """Raise InputError if the JSON calls a class something else than the configuration: it is of another version."""
    for entry in entries if isinstance(entries, list) else []:
        number: int = take(entry, "id", int, str(path))
        own = {str(entry.get(key)).lower() for key in ("name", "supercategory")}
        if number not in classes.names or not own & classes.names[number]:
            expected = " or ".join(sorted(classes.names.get(number, ["no class"])))
            raise InputError(
                f"{path}: category {number} is called {entry.get('name')!r}, the configuration says {expected}: "
                "are they of the same version?"
            )


def _take_void(content: dict[str, Any], void: frozenset[int], where: str) -> dict[ImageId, frozenset[int]]:
    """Take the segments of classes that are not evaluated out of `content`, and return their ids by image."""
    taken: dict[ImageId, frozenset[int]] = {}
    for entry in take(content, "annotations", list, where):
        image_id: ImageId = take(entry, "image_id", (int, str), where)
        kept, ids = [], []
        for segment in take(entry, "segments_info", list, f"{where} (image_id {image_id!r})"):
            if take(segment, "category_id", int, where) in void:
                ids.append(take(segment, "id", int, where))
            else:
                kept.append(segment)
        entry["segments_info"], taken[image_id] = kept, frozenset(ids)
    return taken
