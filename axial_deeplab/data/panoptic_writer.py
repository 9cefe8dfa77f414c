"""Write predictions as a COCO panoptic set that every reader of the format, this package's included, takes as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from axial_deeplab.data.catalog import CategoryMap
from axial_deeplab.data.files import join_json, to_json_text, write_atomic, write_png
from axial_deeplab.data.panoptic_png import check_segments, encode_ids, find_runs
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticPrediction, Segment

Box = tuple[int, int, int, int]


class PanopticWriter:
    """Write the PNG of each prediction as it comes, and the JSON that makes them a set at the very end.

    The PNGs go into the folder named like the JSON. An older JSON is removed first: a run that was killed leaves no JSON,
    and nobody takes its PNGs for a finished set. As a context manager, the writer closes itself unless an exception passes.
    """

    def __init__(self, json_path: Path | str, categories: Sequence[Category]) -> None:
        """Prepare to write.

        Args:
            json_path: The JSON file to end up with, such as "out/panoptic_val.json".
            categories: The classes of the predictions, by contiguous id; written with the dataset's ids.

        Raises:
            InputError: The path does not end in ".json", or an older file cannot be removed.
        """
        self.json_path = Path(json_path)
        self.folder = self.json_path.with_suffix("")
        if self.json_path.suffix != ".json":
            raise InputError(f"{json_path} must end in .json: the PNGs go into the folder of the same name without it")
        self._category_map = CategoryMap(categories)
        self._images: dict[int | str, str] = {}  # JSON, much smaller than dictionaries
        self._annotations: dict[str, str] = {}
        try:
            self.json_path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{json_path} cannot be replaced ({error.strerror}): choose another output") from error

    def __enter__(self) -> "PanopticWriter":
        """Return the writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close after success; after an exception, leave no JSON."""
        if kind is None:
            self.close()

    def add(self, image_id: int | str, file_name: str, prediction: PanopticPrediction) -> None:
        """Write the PNG of one image.

        Args:
            image_id: The id of the image in its set.
            file_name: The file name of the image, relative to its set; the PNG gets the same, subfolders included.
            prediction: What to write; on any device.

        Raises:
            InputError: The id or the name was there before or leads out of the folder, map and segments do not agree, or
                the PNG cannot be written.
        """
        write_ids(self.list(image_id, file_name, prediction), prediction.panoptic_map.cpu().numpy())

    def list(self, image_id: int | str, file_name: str, prediction: PanopticPrediction) -> Path:
        """Do as `add`, but leave the PNG to the caller, who may write it elsewhere: return where `write_ids` shall put it."""
        name = Path(file_name).with_suffix(".png").as_posix()
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{file_name} leads out of {self.folder}: name images relative to their set")
        if image_id in self._images or name in self._annotations:
            raise InputError(
                f"{file_name}: image id {image_id!r} or {name} was written before: give images unique names"
            )
        ids = prediction.panoptic_map.cpu().numpy()
        boxes = _measure_segments(ids)
        check_segments(boxes, prediction.segments, file_name)
        segments_info = [self._describe(segment, *boxes[segment.id]) for segment in prediction.segments]
        height, width = ids.shape
        image = {"id": image_id, "file_name": file_name, "width": width, "height": height}
        annotation = {"image_id": image_id, "file_name": name, "segments_info": segments_info}
        self._images[image_id], self._annotations[name] = to_json_text(image), to_json_text(annotation)
        return self.folder / name

    def close(self) -> None:
        """Write the JSON.

        Raises:
            InputError: It cannot be written.
        """
        categories = [
            {"id": c.id, "name": c.name, "isthing": int(c.is_thing)} | ({"color": list(c.color)} if c.color else {})
            for c in self._category_map.categories
        ]
        parts = {
            "images": join_json(self._images.values()),
            "annotations": join_json(self._annotations.values()),
            "categories": to_json_text(categories),
        }
        text = ", ".join(f'"{key}": {part}' for key, part in parts.items())
        write_atomic(self.json_path, lambda file: file.write(f"{{{text}}}\n".encode()))

    def _describe(self, segment: Segment, area: int, box: Box) -> dict[str, Any]:
        return {
            "id": segment.id,
            "category_id": self._category_map.to_dataset(segment.category_id),
            "area": area,
            "bbox": list(box),
            "iscrowd": int(segment.is_crowd),
            "isthing": int(segment.is_thing),
            "score": float(segment.score),
        }


def write_ids(path: Path, ids: np.ndarray) -> None:
    """Write a map of segment ids, integer [height, width], as a panoptic PNG.

    Raises:
        InputError: An id does not fit, or the file cannot be written.
    """
    write_png(path, encode_ids(ids))


def _measure_segments(ids: np.ndarray) -> dict[int, tuple[int, Box]]:
    """Return the area and the box (left, top, width, height) of every id in a map, in pixels."""
    height, width = ids.shape
    last, length = find_runs(ids.reshape(-1), np.repeat(np.arange(height, dtype=np.int32), width))
    found, slot = np.unique(ids.take(last), return_inverse=True)
    area = np.bincount(slot, weights=length).astype(np.int64)
    row, right = np.divmod(last, width)
    left, top = np.full(found.size, width), np.full(found.size, height)
    far, bottom = np.zeros(found.size, np.int64), np.zeros(found.size, np.int64)
    np.minimum.at(left, slot, right - length + 1)
    np.minimum.at(top, slot, row)
    np.maximum.at(far, slot, right + 1)
    np.maximum.at(bottom, slot, row + 1)
    boxes = zip(left.tolist(), top.tolist(), (far - left).tolist(), (bottom - top).tolist(), strict=True)
    return dict(zip(found.tolist(), zip(area.tolist(), boxes, strict=True), strict=True))
