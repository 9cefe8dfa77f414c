"""COCO panoptic, as its owners ship it and as `dataset convert` writes it.

A split is a folder of images, a JSON file and a folder of PNGs, in one of these layouts (the split "val" is also found under
COCO's own name, "val2017", and so on):

```
images/val/*.jpg    annotations/panoptic_val.json    annotations/panoptic_val/*.png
val/*.jpg           annotations/panoptic_val.json    annotations/panoptic_val/*.png, or panoptic_val/*.png
```

Images without labels are listed in `annotations/image_info_test2017.json`.
"""

from pathlib import Path
from typing import Any

from axial_deeplab.data.catalog import parse_categories
from axial_deeplab.data.layouts.dataset_yaml import FILE_NAME, check_description, read_dataset_yaml
from axial_deeplab.data.layouts.split import (
    ImageEntry,
    ImageFile,
    SplitIndex,
    SplitPaths,
    list_names,
    refuse_unlabeled,
)
from axial_deeplab.data.panoptic_json import (
    PanopticJson,
    load_object,
    parse_images,
    parse_panoptic_json,
    take,
)
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category

GivenPaths = tuple[Path | str | None, Path | str | None, Path | str | None]  # images, annotations, masks


def is_coco(root: Path) -> bool:
    """Tell whether a folder looks like a COCO panoptic set."""
    patterns = (FILE_NAME, "annotations/panoptic_*.json", "annotations/image_info_*.json")
    return any(next(root.glob(pattern), None) for pattern in patterns)


def find_split(root: Path | str, split: str) -> SplitPaths:
    """Find the parts of a split in one of the known layouts.

    Raises:
        InputError: There is no such split, or one of its parts is missing; says what was looked for and which splits there
            are.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the root of a data set")
    for name in list_names(split):
        annotations = root / "annotations" / f"panoptic_{name}.json"
        if annotations.is_file() and (images := _find_images(root, name)):
            return SplitPaths(images, annotations, _find_masks(root, annotations))
        if not annotations.is_file() and (listed := _find_list(root, name)):
            raise refuse_unlabeled(root, split, _find_images(root, _name_image_folder(name)) or listed)
    splits = sorted(path.stem.removeprefix("panoptic_") for path in root.glob("annotations/panoptic_*.json"))
    raise InputError(
        f"{root} has no split '{split}': looked for annotations/panoptic_{split}.json with images/{split}/ or {split}/, "
        f"also under the names {', '.join(list_names(split))}; JSON files are there for: {', '.join(splits) or 'no split'}"
    )


def index_coco(root: Path, split: str, given: GivenPaths = (None, None, None)) -> SplitIndex:
    """Index a split; `dataset.yaml` in the root says what its classes are, unless the JSON is given.

    Args:
        root: The folder of the set.
        split: The name of the split, such as "train".
        given: Paths that are none of the known ones, relative to `root`, or absolute.

    Raises:
        InputError: There is no such split, a file is malformed, or images and annotations do not go together.
    """
    paths = choose_paths(root, split, given)
    listed, categories = load_listed(root, split, paths.annotations, described=given[1] is None)
    content = parse_panoptic_json(listed, paths.annotations, categories=categories)
    _check_images(content)
    entries = (
        ImageEntry(image_id, content.images[image_id], annotation.file_name, annotation.segments)
        for image_id, annotation in content.annotations.items()
    )
    return SplitIndex(content.categories, paths, tuple(entries))


def load_listed(
    root: Path, split: str, annotations: Path, *, described: bool = True
) -> tuple[dict[str, Any], tuple[Category, ...]]:
    """Return what the JSON of a split lists, without its classes, and the classes.

    Args:
        root: The folder of the set.
        split: The name of the split.
        annotations: Its JSON.
        described: Let `dataset.yaml` in the root, if there is one, say what the classes are.

    Raises:
        InputError: A file is malformed, or the two differ in the classes.
    """
    path = root / FILE_NAME
    if not described or not path.is_file():
        content = load_object(annotations)
        categories = parse_categories(take(content, "categories", list, str(annotations)), annotations)
        del content["categories"]
        return content, categories
    description = read_dataset_yaml(path)
    if description.splits and not set(list_names(split)) & set(description.splits):
        raise InputError(f"{path} has no split '{split}': it lists {', '.join(description.splits)}")
    content = load_object(annotations)
    if "categories" in content:
        check_description(description, parse_categories(content.pop("categories"), annotations), annotations)
    return content, description.categories


def list_coco_images(root: Path, split: str) -> list[ImageFile]:
    """List the images of a split, such as "val", "test2017" or "test-dev2017", from `image_info_*.json` or `panoptic_*.json`.

    Raises:
        InputError: There is no such list or no folder of images.
    """
    for name in list_names(split):
        path = _find_list(root, name) or root / "annotations" / f"panoptic_{name}.json"
        folder = _find_images(root, _name_image_folder(name))
        if path.is_file() and folder is not None:
            images = parse_images(take(load_object(path), "images", list, str(path)), path)
            return [ImageFile(folder / file_name, image_id, file_name) for image_id, file_name in images.items()]
    raise InputError(
        f"{root} has no images for '{split}': looked for annotations/image_info_{split}.json with {split}/"
    )


def _find_images(root: Path, name: str) -> Path | None:
    return next((folder for folder in (root / "images" / name, root / name) if folder.is_dir()), None)


def _find_list(root: Path, name: str) -> Path | None:
    path = root / "annotations" / f"image_info_{name}.json"
    return path if path.is_file() else None


def _name_image_folder(name: str) -> str:
    """Return the folder that holds the images of a list: test-dev2017 is a part of test2017."""
    return name.replace("-dev", "")


def _find_masks(root: Path, annotations: Path) -> Path:
    folders = (annotations.with_suffix(""), root / annotations.stem)
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        zipped = annotations.with_suffix(".zip")
        hint = f"unzip {zipped} there" if zipped.is_file() else "add the PNGs that the JSON names"
        raise InputError(f"{folders[0]} is missing, and so is {folders[1]}: {hint}")
    return found


def _check_images(content: PanopticJson) -> None:
    """Raise InputError unless the file describes exactly the images that it lists."""
    for present, absent, first, second in (
        ("image", "annotation", content.images, content.annotations),
        ("annotation", "image", content.annotations, content.images),
    ):
        lonely = [image_id for image_id in first if image_id not in second]
        if lonely:
            raise InputError(
                f"{content.path}: {len(lonely)} entries have an {present} but no {absent} "
                f"(the first is id {lonely[0]!r}): add what is missing or drop them"
            )


def choose_paths(root: Path, split: str, given: GivenPaths = (None, None, None)) -> SplitPaths:
    """Return the given parts of a split, with its name for "{split}" in them, and find the others.

    Raises:
        InputError: There is no such split, or one of its parts is missing.
    """
    images, annotations, masks = (
        None if path is None else root / str(path).replace("{split}", split) for path in given
    )
    if images is None or annotations is None:
        found = find_split(root, split)
        images, annotations = images or found.images, annotations or found.annotations
        masks = masks or (found.masks if given[1] is None else None)
    return SplitPaths(images, annotations, masks or annotations.with_suffix(""))
