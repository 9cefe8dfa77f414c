"""Which layout a folder has, and the way to the index of a split."""

from pathlib import Path
from typing import Literal, get_args

from axial_deeplab.data.layouts.cityscapes import index_cityscapes, is_cityscapes, list_cityscapes_images
from axial_deeplab.data.layouts.coco import GivenPaths, index_coco, is_coco, list_coco_images
from axial_deeplab.data.layouts.mapillary import PANOPTIC_FILES, index_mapillary, is_mapillary, list_mapillary_images
from axial_deeplab.data.layouts.split import ImageFile, SplitIndex
from axial_deeplab.errors import InputError

Layout = Literal["auto", "coco", "cityscapes", "mapillary"]
_RECOGNIZERS = {"coco": is_coco, "cityscapes": is_cityscapes, "mapillary": is_mapillary}


def detect_layout(root: Path) -> str:
    """Return the layout of a folder: "coco", "cityscapes" or "mapillary".

    Raises:
        InputError: It is no folder, or looks like none or several of them.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the root of a data set")
    found = [name for name, recognizes in _RECOGNIZERS.items() if recognizes(root)]
    if len(found) > 1:
        raise InputError(f"{root} looks like {' and '.join(found)}: say which one with --data.layout")
    if not found:
        raise InputError(
            f"{root} has no known layout: looked for annotations/panoptic_*.json or dataset.yaml (coco), leftImg8bit/ or "
            "gtFine/ (cityscapes), config_v*.json (mapillary); axial-deeplab dataset convert brings others to the first"
        )
    return found[0]


def index_split(
    root: Path, split: str, *, layout: str = "auto", version: str | None = None, given: GivenPaths = (None, None, None)
) -> SplitIndex:
    """Index a split with labels.

    Args:
        root: The folder of the data set.
        split: The name of the split; "train", "train2017" and "training" stand for each other, and so on.
        layout: One of `Layout`.
        version: Of Mapillary Vistas, "1.2" or "2.0".
        given: Images, JSON and PNGs of a set in the COCO format whose places are none of the known ones; "{split}" in them
            stands for the split.

    Raises:
        InputError: Layout or version are wrong or not clear, or the layout refuses the split.
    """
    name = choose_layout(root, layout, version, explicit=any(given))
    if name == "cityscapes":
        return index_cityscapes(root, split)
    if name == "mapillary":
        return index_mapillary(root, split, version or "")
    return index_coco(root, split, given)


def list_split_images(root: Path, split: str, *, layout: str = "auto") -> list[ImageFile]:
    """List the images of a split, with or without labels, with the ids under which a server wants predictions.

    Raises:
        InputError: The layout is wrong or not clear, or there is no such split.
    """
    name = detect_layout(root) if layout == "auto" else layout
    lists = {"coco": list_coco_images, "cityscapes": list_cityscapes_images, "mapillary": list_mapillary_images}
    if name not in lists:
        raise InputError(f"data.layout must be one of {', '.join(get_args(Layout))}, not {layout!r}")
    return lists[name](root, split)


def choose_layout(root: Path, layout: str, version: str | None, *, explicit: bool) -> str:
    """Return the name of the layout to read; `explicit` tells that images or JSON are given.

    Raises:
        InputError: Layout or version are wrong or not clear.
    """
    if layout not in get_args(Layout):
        raise InputError(f"data.layout must be one of {', '.join(get_args(Layout))}, not {layout!r}")
    if layout == "auto":
        layout = "coco" if explicit else detect_layout(root)
    if explicit and layout != "coco":
        raise InputError(f"data.images and data.annotations go with --data.layout coco, not with {layout}")
    if layout == "mapillary" and version is None:
        raise InputError(f"{root} is Mapillary Vistas: say which version, --data.version {' or '.join(PANOPTIC_FILES)}")
    if layout != "mapillary" and version is not None:
        raise InputError(f"data.version is for Mapillary Vistas, and {root} is {layout}: leave it out")
    return layout
