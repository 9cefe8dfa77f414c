"""Convert a folder of annotated images: read, draw, divide, write."""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
import yaml

from axial_deeplab.data.convert.classes import add_background, choose_missing_colors, set_kinds
from axial_deeplab.data.convert.detect import FORMATS, detect_format
from axial_deeplab.data.convert.draw import draw_labels
from axial_deeplab.data.convert.record import BACKGROUND, LabeledImage, Size
from axial_deeplab.data.convert.report import ConversionReport
from axial_deeplab.data.convert.split import divide
from axial_deeplab.data.files import copy_file, link_file, write_atomic
from axial_deeplab.data.image_folder import read_image
from axial_deeplab.data.panoptic_writer import PanopticWriter
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticPrediction


@dataclass(frozen=True)
class ConvertOptions:
    """What a conversion can be told.

    Attributes:
        format: One of `FORMATS`; None detects it.
        classes: Names of the classes in their order, or one .txt or .json file; empty takes those of the source.
        stuff: Classes without objects; their regions in an image are one segment.
        things: Classes with objects; only needed against what the source says.
        unlabeled: "background" or "void", what becomes of pixels without annotation; None makes it "void" if a class other
            than `background` is stuff, else "background".
        split: Share of the images for "train", the others are "val"; None keeps the splits of the source.
        seed: Divides in another way.
        group: Regular expression; images whose names have the same text in its first group stay in one split.
        copy: Copy images instead of linking them.
    """

    format: str | None = None
    classes: tuple[str, ...] = ()
    stuff: tuple[str, ...] = ()
    things: tuple[str, ...] = ()
    unlabeled: str | None = None
    split: float | None = None
    seed: int = 0
    group: str | None = None
    copy: bool = False


def convert_dataset(root: Path | str, output: Path | str, options: ConvertOptions | None = None) -> ConversionReport:
    """Convert a folder of annotated images into a COCO-panoptic set that `CocoPanopticDataset` reads.

    The set is written beside `output` and put in its place when it is whole.

    Raises:
        InputError: `root` is no folder or of no known format, the annotations or an image are at fault, `output` is a file
            or has something in it, or it cannot be written.
    """
    root, output, options = Path(root), Path(output), options or ConvertOptions()
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the folder of images and annotations")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} exists and is not empty: remove it or choose another output")
    name = options.format or detect_format(root)
    if name not in FORMATS:
        raise InputError(f"there is no format {name!r}: choose one of {', '.join(FORMATS)}")
    source = FORMATS[name](root, options.classes)
    categories, background = _complete(set_kinds(source.categories, options.stuff, options.things), options.unlabeled)
    images = _choose_splits(source.images, options)
    report = ConversionReport(name, categories)
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    try:
        _write_set(temporary, images, _Job(categories, background, options.copy), report)
        _replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return report


@dataclass(frozen=True)
class _Job:
    categories: tuple[Category, ...]
    background: int | None
    copy: bool


def _complete(categories: tuple[Category, ...], unlabeled: str | None) -> tuple[tuple[Category, ...], int | None]:
    """Add background if it is wanted, and colors; return the position of background or None."""
    if unlabeled not in (None, "background", "void"):
        raise InputError(f"--unlabeled must be background or void, not {unlabeled!r}")
    has_stuff = any(not category.is_thing and category.name != BACKGROUND for category in categories)
    background = None
    if unlabeled == "background" or (unlabeled is None and not has_stuff):
        categories, background = add_background(categories)
    return choose_missing_colors(categories), background


def _choose_splits(images: Sequence[LabeledImage], options: ConvertOptions) -> list[LabeledImage]:
    """Return the images with final splits, file names and ids."""
    if not images:
        raise InputError("there is no annotated image: check the folder and --format")
    if options.split is None and options.group is not None:
        raise InputError("--group needs --split, such as 0.8")
    if options.split is None:
        images = [image._replace(split=image.split or "train") for image in images]
    else:
        if len({image.file_name for image in images}) < len(images):  # equal names in the splits of the source
            images = [image._replace(file_name=f"{image.split or 'all'}/{image.file_name}") for image in images]
        _check_names([(None, image.file_name) for image in images])
        splits = divide([image.file_name for image in images], options.split, options.seed, pattern=options.group)
        images = [image._replace(split=split) for image, split in zip(images, splits, strict=True)]
    _check_names([(image.split, image.file_name) for image in images])
    ids = {image.image_id for image in images}
    if None in ids or len(ids) < len(images):
        images = [image._replace(image_id=number) for number, image in enumerate(images, start=1)]
    return list(images)


def _check_names(names: Sequence[tuple[str | None, str]]) -> None:
    """Raise InputError if a name repeats within a split, or leads out of the set."""
    for (_, name), count in Counter(names).items():
        path = PurePosixPath(name)
        if count > 1:
            raise InputError(f"{name} is annotated {count} times: keep one of the annotations")
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise InputError(f"{name!r} leads out of the set: name images relative to it")


def _write_set(folder: Path, images: Sequence[LabeledImage], job: _Job, report: ConversionReport) -> None:
    with ExitStack() as stack:
        writers: dict[str, PanopticWriter] = {}
        for image in images:
            split = str(image.split)
            if split not in writers:
                json_path = folder / "annotations" / f"panoptic_{split}.json"
                writers[split] = stack.enter_context(PanopticWriter(json_path, job.categories))
            size = _place_image(image, folder / "images" / split / image.file_name, copy=job.copy)
            drawing = draw_labels(image.load(size), size, job.categories, background=job.background)
            prediction = PanopticPrediction(torch.from_numpy(drawing.ids), drawing.segments)
            writers[split].add(image.image_id or 0, image.file_name, prediction)
            report.add(split, image.file_name, drawing)
    content = describe_set(job.categories, list(writers))
    write_atomic(folder / "dataset.yaml", lambda file: file.write(content.encode()))


def describe_set(categories: Sequence[Category], splits: Sequence[str]) -> str:
    """Return the text of dataset.yaml: names, ids, isthing and colors (RGB, 0..255) by contiguous id, and the splits."""
    content = {
        "names": [category.name for category in categories],
        "ids": [category.id for category in categories],
        "isthing": [int(category.is_thing) for category in categories],
        "colors": [list(category.color or ()) for category in categories],
        "splits": list(splits),
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def _place_image(image: LabeledImage, target: Path, *, copy: bool) -> Size:
    """Link, copy or write the file as it is, and return height and width as the reader will see them."""
    if isinstance(image.image, Path):
        width, height = read_image(image.image).size
        (copy_file if copy else link_file)(image.image, target)
        return height, width
    data = image.image()
    try:
        width, height = read_image(data).size
    except InputError as error:
        raise InputError(f"{image.file_name}: {error}") from None
    write_atomic(target, lambda file: file.write(data))
    return height, width


def _replace(temporary: Path, output: Path) -> None:
    try:
        if output.exists():
            output.rmdir()  # it is empty
        os.replace(temporary, output)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error.strerror}): choose another output") from error
