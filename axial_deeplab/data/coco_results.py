"""Instances as a COCO results file: a JSON list of masks as run lengths, with scores.

Source: the format of https://cocodataset.org/#format-results, "Object Detection (Segmentation)".
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from axial_deeplab.data.catalog import CategoryMap
from axial_deeplab.data.convert.json_file import read_json, take
from axial_deeplab.data.files import join_json, to_json_text, write_atomic
from axial_deeplab.data.panoptic_json import ImageId
from axial_deeplab.data.run_lengths import compress_runs, encode_segments, parse_compressed_runs
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticPrediction, Segment


class InstanceResult(NamedTuple):
    """One predicted instance: its class is contiguous, its id counts from 1 in its image."""

    segment: Segment
    runs: str  # compressed run lengths
    size: tuple[int, int]  # height, width


def holds_results(path: Path) -> bool:
    """Return whether a file begins like a JSON list, without reading all of it."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().startswith(b"[")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path") from error


def read_instance_results(path: Path, categories: Sequence[Category]) -> dict[ImageId, list[InstanceResult]]:
    """Read and check a results file; instances of an image keep their order.

    Args:
        path: The JSON file.
        categories: The classes of the truth.

    Raises:
        InputError: The file is absent or no JSON list, a key is missing or of the wrong type, a category is unknown, a
            score is not finite, or run lengths do not fit their size. Names the file and the entry.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(f"{path} must hold a list of results, not a {type(content).__name__}")
    category_map = CategoryMap(categories)
    results: dict[ImageId, list[InstanceResult]] = {}
    for number, entry in enumerate(content):
        where = f"{path}, result {number}"
        image_id: ImageId = take(entry, "image_id", (int, str), where)
        instances = results.setdefault(image_id, [])
        instances.append(_parse(entry, category_map, len(instances) + 1, where))
    return results


def _parse(entry: Any, category_map: CategoryMap, segment_id: int, where: str) -> InstanceResult:
    try:
        category_id = category_map.to_contiguous(take(entry, "category_id", int, where))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    score = float(take(entry, "score", (int, float), where))
    if not math.isfinite(score):
        raise InputError(f"{where}: the score is {score}: instances are ranked by their scores")
    mask = take(entry, "segmentation", dict, where)
    size, counts = take(mask, "size", list, where), take(mask, "counts", (str, list), where)
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise InputError(f"{where}: 'size' cannot be {size!r:.40}: give height and width")
    try:
        lengths = parse_compressed_runs(counts) if isinstance(counts, str) else counts
        runs = counts if isinstance(counts, str) else compress_runs(counts)
        if min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
            raise ValueError(f"the run lengths do not add up to {size[0]}×{size[1]} pixels")
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: {error}: write it again") from None
    segment = Segment(segment_id, category_id, category_map.is_thing[category_id], score, sum(lengths[1::2]))
    return InstanceResult(segment, runs, (size[0], size[1]))


class InstanceWriter:
    """Collect the things of predictions, best scores first, and write them as a results file at the end.

    As a context manager, the writer closes itself unless an exception passes. An older file is removed first.
    """

    def __init__(self, json_path: Path | str, categories: Sequence[Category]) -> None:
        """Prepare to write; the position of a class in `categories` is its contiguous id.

        Raises:
            InputError: An older file cannot be removed.
        """
        self.json_path = Path(json_path)
        self._category_map = CategoryMap(categories)
        self._results: list[str] = []  # JSON, much smaller than dictionaries
        self._image_ids: set[ImageId] = set()
        try:
            self.json_path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{json_path} cannot be replaced ({error.strerror}): choose another output") from error

    def __enter__(self) -> "InstanceWriter":
        """Return the writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close after success; after an exception, leave no file."""
        if kind is None:
            self.close()

    def add(self, image_id: ImageId, file_name: str, prediction: PanopticPrediction) -> None:
        """Add the things of one image, some hundred bytes each.

        Raises:
            InputError: The image was there before; names it by `file_name`.
        """
        if image_id in self._image_ids:
            raise InputError(f"{file_name}: image id {image_id!r} was written before: give images unique names")
        self._image_ids.add(image_id)
        ids = prediction.panoptic_map.cpu().numpy()
        things = sorted((s for s in prediction.segments if s.is_thing), key=lambda segment: -segment.score)
        runs = encode_segments(ids, [segment.id for segment in things])
        for segment in things:
            result = {
                "image_id": image_id,
                "category_id": self._category_map.to_dataset(segment.category_id),
                "segmentation": {"size": list(ids.shape), "counts": runs[segment.id]},
                "score": float(segment.score),
            }
            self._results.append(to_json_text(result))

    def close(self) -> None:
        """Write the file.

        Raises:
            InputError: It cannot be written.
        """
        write_atomic(self.json_path, lambda file: file.write(f"{join_json(self._results)}\n".encode()))
