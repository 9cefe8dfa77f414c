"""Predictions as labels to correct: in the form of labelme, and as COCO instances, which CVAT and others import.

Each folder holds the images too, as hard links where the system can, so that a tool for annotation opens it as it is and
`dataset convert` reads it, before and after it was corrected. The class `background` is what nobody annotates: it is left out.

Sources: https://github.com/wkentaro/labelme, the JSON files that version 5 writes; https://cocodataset.org/#format-data.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from axial_deeplab.data.catalog import CategoryMap
from axial_deeplab.data.contours import Ring, find_polygons
from axial_deeplab.data.convert.record import BACKGROUND
from axial_deeplab.data.files import join_json, link_file, to_json_text, write_atomic, write_json
from axial_deeplab.data.panoptic_png import count_pixels
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticPrediction, Segment

_LABELME_VERSION = "5.5.0"  # whose form the files have


class Prelabeler(Protocol):
    """Whatever takes the predictions of image files one by one."""

    def add(self, image: Path, name: str, prediction: PanopticPrediction, /) -> None:
        """Take one image, the file and the name that was chosen for it, and its prediction."""


class _Outlined(NamedTuple):
    """One segment as polygons."""

    segment: Segment
    polygons: list[Ring]
    box: tuple[int, int, int, int]  # left, top, width, height
    area: int


class LabelmeWriter:
    """Write `NAME.json` beside each image; the parts of an object share a group.

    labels.txt lists the classes in their order, for `labelme --labels` and for `dataset convert`. The description of each
    shape is the score.
    """

    def __init__(self, folder: Path, categories: Sequence[Category]) -> None:
        """Prepare to write into a folder that must be absent or empty.

        Raises:
            InputError: Something is in the folder, or it cannot be written.
        """
        _require_empty(folder)
        self._folder, self._categories = folder, tuple(categories)
        names = [category.name for category in categories if category.name != BACKGROUND]
        write_atomic(folder / "labels.txt", lambda file: file.write("".join(f"{name}\n" for name in names).encode()))

    def __enter__(self) -> "LabelmeWriter":
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: each file is whole."""

    def add(self, image: Path, name: str, prediction: PanopticPrediction) -> None:
        """Write the shapes of one image, and put the image beside them."""
        file_name = f"{name}{image.suffix}"
        link_file(image, self._folder / file_name)
        shapes = []
        for group, outlined in enumerate(_outline(prediction, self._categories), start=1):
            shapes += self._describe(outlined, group if len(outlined.polygons) > 1 else None)
        height, width = prediction.panoptic_map.shape
        content: dict[str, Any] = {
            "version": _LABELME_VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": file_name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_json(self._folder / f"{name}.json", content, indent=2)

    def _describe(self, outlined: _Outlined, group: int | None) -> list[dict[str, Any]]:
        segment = outlined.segment
        shape: dict[str, Any] = {
            "label": self._categories[segment.category_id].name,
            "group_id": group,
            "description": f"score {segment.score:.2f}",
            "shape_type": "polygon",
            "flags": {},
        }
        return [shape | {"points": ring.tolist()} for ring in outlined.polygons]


class CocoLabelWriter:
    """Write `annotations/instances_default.json`, as CVAT calls it, with the images in `images/`.

    Annotations have a `score`, classes have `isthing`, which `dataset convert` believes. As a context manager, the writer
    closes itself unless an exception passes.
    """

    def __init__(self, folder: Path, categories: Sequence[Category]) -> None:
        """Prepare to write into a folder that must be absent or empty.

        Raises:
            InputError: Something is in the folder.
        """
        _require_empty(folder)
        self._folder, self._category_map = folder, CategoryMap(categories)
        self._images: list[str] = []  # JSON, much smaller than dictionaries
        self._annotations: list[str] = []

    def __enter__(self) -> "CocoLabelWriter":
        """Return the writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close after success; after an exception, leave no JSON."""
        if kind is None:
            self.close()

    def add(self, image: Path, name: str, prediction: PanopticPrediction) -> None:
        """Add one image and its objects."""
        file_name = f"{name}{image.suffix}"
        link_file(image, self._folder / "images" / file_name)
        height, width = prediction.panoptic_map.shape
        image_id = len(self._images) + 1
        self._images.append(to_json_text({"id": image_id, "file_name": file_name, "height": height, "width": width}))
        for outlined in _outline(prediction, self._category_map.categories):
            annotation = {
                "id": len(self._annotations) + 1,
                "image_id": image_id,
                "category_id": self._category_map.to_dataset(outlined.segment.category_id),
                "segmentation": [ring.reshape(-1).tolist() for ring in outlined.polygons],
                "bbox": list(outlined.box),
                "area": outlined.area,
                "iscrowd": 0,
                "score": round(float(outlined.segment.score), 4),
            }
            self._annotations.append(to_json_text(annotation))

    def close(self) -> None:
        """Write the JSON.

        Raises:
            InputError: It cannot be written.
        """
        categories = [
            {"id": c.id, "name": c.name, "supercategory": "", "isthing": int(c.is_thing)}
            for c in self._category_map.categories
            if c.name != BACKGROUND
        ]
        parts = {
            "images": join_json(self._images),
            "annotations": join_json(self._annotations),
            "categories": to_json_text(categories),
        }
        text = ", ".join(f'"{key}": {part}' for key, part in parts.items())
        path = self._folder / "annotations" / "instances_default.json"
        write_atomic(path, lambda file: file.write(f"{{{text}}}\n".encode()))


PRELABELS: dict[str, Callable[[Path, Sequence[Category]], AbstractContextManager[Prelabeler]]] = {
    "labelme": lambda output, categories: LabelmeWriter(output / "labelme", categories),
    "coco": lambda output, categories: CocoLabelWriter(output / "coco", categories),
}
"""dict: Forms of labels; each gets a folder of its name in the output."""


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty, it may hold corrected labels: choose another output")


def _outline(prediction: PanopticPrediction, categories: Sequence[Category]) -> Iterator[_Outlined]:
    """Yield the segments as polygons, the largest first: small ones lie on top of holes that were filled around them."""
    ids = prediction.panoptic_map.cpu().numpy()
    areas = count_pixels(ids)
    for segment in sorted(prediction.segments, key=lambda segment: -areas[segment.id]):
        if categories[segment.category_id].name == BACKGROUND:
            continue
        top, left, mask = _cut_out(ids, segment.id)
        polygons = [ring + np.array([left, top]) for ring in find_polygons(mask)]
        yield _Outlined(segment, polygons, (left, top, mask.shape[1], mask.shape[0]), int(mask.sum()))


def _cut_out(ids: NDArray[np.integer], number: int) -> tuple[int, int, NDArray[np.bool_]]:
    """Return the mask of a segment in its box, behind the top and the left of the box."""
    mask = ids == number
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    return top, left, mask[top : rows[-1] + 1, left : columns[-1] + 1]
