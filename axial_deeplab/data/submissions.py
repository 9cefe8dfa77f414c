"""What can be written of predictions: files to work with, and files as the benchmarks' servers take them.

Sources: https://cocodataset.org/#format-results; https://www.cityscapes-dataset.com/submit; the panoptic challenge of Mapillary
Vistas takes COCO's panoptic format with the keys of its images as ids.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol

from axial_deeplab.data.catalog import load_catalog
from axial_deeplab.data.cityscapes_results import CityscapesInstanceWriter, map_to_labels, name_image
from axial_deeplab.data.coco_results import InstanceWriter
from axial_deeplab.data.layouts.mapillary import check_classes
from axial_deeplab.data.panoptic_json import ImageId
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.data.semantic_writer import SemanticWriter
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticPrediction


class Writer(Protocol):
    """Whatever takes predictions one by one."""

    def add(self, image_id: ImageId, file_name: str, prediction: PanopticPrediction, /) -> None: ...


Identity = tuple[ImageId, str]
"""Id and file name of an image."""


class Output(NamedTuple):
    """One form of output.

    Attributes:
        open: Return the writer from the folder of the output and the classes; leaving it closes it.
        identify: Return the identity of an image from its path and the name that was chosen for it.
        check: Raise InputError unless the classes are those of the data set that images belong to; for data sets whose
            classes are not known without their files.
    """

    open: Callable[[Path, Sequence[Category]], AbstractContextManager[Writer]]
    identify: Callable[[Path, str], Identity]
    check: Callable[[Sequence[Path], Sequence[Category]], None] = lambda images, categories: None


def _identify(path: Path, name: str) -> Identity:
    return name, f"{name}{path.suffix}"


def _identify_coco(path: Path, name: str) -> Identity:
    if not path.stem.isdecimal():
        raise InputError(f"{path} is no image of COCO: these are named by their ids, such as 000000142238.jpg")
    return int(path.stem), path.name


def _identify_street(path: Path, name: str) -> Identity:
    return name_image(path.name), f"{name_image(path.name)}.png"


def _identify_vistas(path: Path, name: str) -> Identity:
    return path.stem, path.name


def _require_coco(categories: Sequence[Category]) -> Sequence[Category]:
    official = {(category.id, category.name) for category in load_catalog("coco")}
    for category in categories:
        if (category.id, category.name) not in official:
            raise InputError(f"COCO has no class '{category.name}' with the id {category.id}")
    return categories


WRITTEN: dict[str, Output] = {
    "panoptic": Output(lambda folder, classes: PanopticWriter(folder / "predictions.json", classes), _identify),
    "instances": Output(lambda folder, classes: InstanceWriter(folder / "instances.json", classes), _identify),
    "semantic": Output(lambda folder, classes: nullcontext(SemanticWriter(folder / "semantic", classes)), _identify),
}
"""dict: Files to work with."""

SUBMISSIONS: dict[str, Output] = {
    "coco-panoptic": Output(
        lambda folder, classes: PanopticWriter(folder / "coco-panoptic" / "panoptic.json", _require_coco(classes)),
        _identify_coco,
    ),
    "coco-instance": Output(
        lambda folder, classes: InstanceWriter(folder / "coco-instance" / "results.json", _require_coco(classes)),
        _identify_coco,
    ),
    "cityscapes-panoptic": Output(
        lambda folder, classes: PanopticWriter(
            folder / "cityscapes-panoptic" / "panoptic.json", map_to_labels(classes)
        ),
        _identify_street,
    ),
    "cityscapes-instance": Output(
        lambda folder, classes: nullcontext(CityscapesInstanceWriter(folder / "cityscapes-instance", classes)),
        _identify_street,
    ),
    "cityscapes-semantic": Output(
        lambda folder, classes: nullcontext(
            SemanticWriter(folder / "cityscapes-semantic", map_to_labels(classes), void=0, suffix="_pred.png")
        ),
        _identify_street,
    ),
    "mapillary-panoptic": Output(
        lambda folder, classes: PanopticWriter(folder / "mapillary-panoptic" / "panoptic.json", classes),
        _identify_vistas,
        check_classes,
    ),
}
"""dict: Server files, each in a folder of its name."""


def identify_images(output: Output, paths: Iterable[Path], names: Iterable[str]) -> list[Identity]:
    """Return the identity of each image, before the first is segmented.

    Raises:
        InputError: A path does not name an image of the benchmark, or two have the same id.
    """
    identities: list[Identity] = []
    first: dict[ImageId, Path] = {}
    for path, name in zip(paths, names, strict=True):
        identities.append(output.identify(path, name))
        if first.setdefault(identities[-1][0], path) != path:
            raise InputError(
                f"{path} and {first[identities[-1][0]]} are both image {identities[-1][0]}: give one of them"
            )
    return identities
