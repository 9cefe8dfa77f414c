"""Average precision (AP) of instances by the rules of COCO, computed by faster-coco-eval.

Masks are kept as run lengths, some hundred bytes each, because the evaluator takes all of them at once. Needs the extra
`eval`: pip install 'axial-deeplab[eval]'.

Source: Lin et al., "Microsoft COCO: Common Objects in Context" (https://arxiv.org/abs/1405.0312); rules of
cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from axial_deeplab.data.panoptic_json import ImageId
from axial_deeplab.data.run_lengths import encode_mask, parse_compressed_runs
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.averages import replace_nan
from axial_deeplab.metrics.overlaps import to_array
from axial_deeplab.records import Category, Segment

FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
FIGURES_OF_RECALL = ("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large")


@dataclass(frozen=True)
class CocoPrecisionReport:
    """What `CocoAveragePrecision.compute` found, fractions; NaN where there is nothing to find.

    Attributes:
        figures: The twelve numbers of COCO by name: AP, AP50, AP75, AP_small .. AR_large; recall with 1, 10 and 100
            predictions an image.
        per_class: AP by the dataset's category id, things only.
    """

    figures: dict[str, float]
    per_class: dict[int, float]

    def to_json(self) -> dict[str, float | None | dict[str, float | None]]:
        """Return plain dictionaries; None stands for NaN, which JSON does not know."""
        per_class = {str(category_id): replace_nan(ap) for category_id, ap in self.per_class.items()}
        return {**{name: replace_nan(value) for name, value in self.figures.items()}, "per_class": per_class}


class _Mask(NamedTuple):
    """One instance as it is kept."""

    image_id: ImageId
    category_id: int
    runs: str
    score: float
    area: int  # as its file says, 0 where it does not
    is_crowd: int


class CocoAveragePrecision:
    """Collect masks image by image.

    Instances can be pickled: processes that each see a part of the images send theirs to one that merges, in any order.

    Attributes:
        categories: The classes, by contiguous id; stuff is passed over.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        """Start without images; the position of a class in `categories` is its contiguous id.

        Raises:
            InputError: faster-coco-eval is not installed.
        """
        _import_evaluator()
        self.categories = tuple(categories)
        self._sizes: dict[ImageId, tuple[int, int]] = {}  # by image
        self._truth: list[_Mask] = []
        self._found: list[_Mask] = []

    def update(
        self,
        image_id: ImageId,
        truth: Iterable[tuple[Segment, Tensor | np.ndarray]],
        instances: Iterable[tuple[Segment, Tensor | np.ndarray]],
        *,
        size: tuple[int, int],
    ) -> None:
        """Count one image.

        Args:
            image_id: Of equal scores those of smaller ids rank first; each image comes once.
            truth: Segments with contiguous class, each with its mask, bool [height, width]; masks may overlap. `area`
                decides what is small; 0 stands for the number of pixels. Crowd excuses predictions. `to_instances` of
                a true panoptic map gives them.
            instances: The same for the prediction, with scores; of each class the best 100 count.
            size: Height and width in pixels.

        Raises:
            InputError: The image came before, a mask has another size, a score is not finite, or there is no such class.
        """
        self.update_runs(image_id, _encode(truth, size), _encode(instances, size), size=size)

    def update_runs(
        self,
        image_id: ImageId,
        truth: Iterable[tuple[Segment, str]],
        instances: Iterable[tuple[Segment, str]],
        *,
        size: tuple[int, int],
    ) -> None:
        """Count one image whose masks are compressed run lengths (`data.run_lengths`); else as `update`."""
        if image_id in self._sizes:
            raise InputError(f"the image {image_id!r} came before: count each image once")
        masks = [self._keep(image_id, segment, runs) for segment, runs in truth]
        guesses = [self._keep(image_id, segment, runs) for segment, runs in instances]
        self._sizes[image_id] = size
        self._truth += [mask for mask in masks if self.categories[mask.category_id].is_thing]
        self._found += [mask for mask in guesses if self.categories[mask.category_id].is_thing]

    def merge(self, other: "CocoAveragePrecision") -> None:
        """Add the images of another accumulator over the same classes.

        Raises:
            InputError: The classes differ, or an image was counted by both.
        """
        if other.categories != self.categories:
            raise InputError("counts over different classes cannot be merged: use one class list in all processes")
        if both := sorted(self._sizes.keys() & other._sizes.keys(), key=_rank)[:5]:
            raise InputError(f"the images {both} were counted twice: give each image to one process")
        self._sizes |= other._sizes
        self._truth += other._truth
        self._found += other._found

    def compute(self) -> CocoPrecisionReport:
        """Return the twelve numbers and the AP of each class of things; what was collected stays."""
        things = [(number, category) for number, category in enumerate(self.categories) if category.is_thing]
        number = {image_id: position for position, image_id in enumerate(sorted(self._sizes, key=_rank))}
        truth = [
            self._expand(mask, number) | {"id": n, "area": mask.area or _measure(mask.runs), "iscrowd": mask.is_crowd}
            for n, mask in enumerate(self._truth, start=1)
        ]
        dataset = {
            "images": [{"id": number[i], "height": h, "width": w} for i, (h, w) in self._sizes.items()],
            "categories": [{"id": position, "name": category.name} for position, category in things],
            "annotations": truth,
        }
        found = [self._expand(mask, number) | {"score": mask.score} for mask in self._found]
        return evaluate_instances(dataset, found, [category for _, category in things])

    def _keep(self, image_id: ImageId, segment: Segment, runs: str) -> _Mask:
        if not 0 <= segment.category_id < len(self.categories):
            raise InputError(f"segment {segment.id} has class {segment.category_id} of {len(self.categories)}")
        if not math.isfinite(segment.score):
            raise InputError(
                f"segment {segment.id} has the score {segment.score}: instances are ranked by their scores"
            )
        return _Mask(image_id, segment.category_id, runs, segment.score, segment.area, int(segment.is_crowd))

    def _expand(self, mask: _Mask, number: dict[ImageId, int]) -> dict[str, Any]:
        """Return a mask in the form of the evaluator."""
        runs = {"size": list(self._sizes[mask.image_id]), "counts": mask.runs}
        return {"image_id": number[mask.image_id], "category_id": mask.category_id, "segmentation": runs}


def evaluate_instances(
    dataset: dict[str, Any], found: list[dict[str, Any]], categories: Sequence[Category]
) -> CocoPrecisionReport:
    """Run the evaluator.

    Args:
        dataset: The truth, in the form of a COCO instances file; changed on the way.
        found: The results, in the form of a COCO results file; changed on the way.
        categories: In ascending order of the ids that `dataset` has for them.

    Raises:
        InputError: faster-coco-eval is not installed.
    """
    names = (*FIGURES, *FIGURES_OF_RECALL)
    if not dataset["annotations"] or not categories:
        return CocoPrecisionReport(dict.fromkeys(names, math.nan), {c.id: math.nan for c in categories})
    evaluator = _import_evaluator()
    truth = evaluator.COCO(dataset, print_function=_say_nothing)
    evaluation = evaluator.COCOeval_faster(truth, truth.loadRes(found), "segm", print_function=_say_nothing)
    evaluation.run()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # threshold, recall, class; all areas, 100 predictions
    per_class = {category.id: _average(precision[:, :, row]) for row, category in enumerate(categories)}
    figures = [math.nan if value < 0 else float(value) for value in evaluation.stats[: len(names)]]
    return CocoPrecisionReport(dict(zip(names, figures, strict=True)), per_class)


def _encode(
    masks: Iterable[tuple[Segment, Tensor | np.ndarray]], size: tuple[int, int]
) -> Iterator[tuple[Segment, str]]:
    for segment, mask in masks:
        if tuple(mask.shape) != tuple(size):
            raise InputError(f"segment {segment.id} has a mask of {tuple(mask.shape)} pixels, the image has {size}")
        yield segment, encode_mask(to_array(mask) != 0)


def _measure(runs: str) -> int:
    """Return the number of pixels of a mask."""
    return sum(parse_compressed_runs(runs)[1::2])


def _rank(image_id: ImageId) -> tuple[bool, ImageId]:
    """Return what images are sorted by: numbers, then names."""
    return isinstance(image_id, str), image_id


def _import_evaluator() -> ModuleType:
    try:
        import faster_coco_eval
    except ImportError as error:
        raise InputError("COCO's AP needs faster-coco-eval: pip install 'axial-deeplab[eval]'") from error
    return faster_coco_eval


def _average(precision: np.ndarray) -> float:
    """Return the mean of what is not -1, the evaluator's sign for a class without truth."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else math.nan


def _say_nothing(*_: object) -> None:
    """Take the evaluator's messages."""
