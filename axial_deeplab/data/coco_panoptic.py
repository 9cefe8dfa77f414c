"""Read panoptic sets in the COCO format, in the layouts in which they are found on disk.

A set is a folder of images, a JSON file and a folder of PNGs, in one of these layouts (the split "val" is also found under
COCO's own name, "val2017"):

```
images/val/*.jpg    annotations/panoptic_val.json    annotations/panoptic_val/*.png
val/*.jpg           annotations/panoptic_val.json    annotations/panoptic_val/*.png
```
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from axial_deeplab.data.image_folder import read_image, to_rgb_array
from axial_deeplab.data.panoptic_json import PanopticJson, read_panoptic_json
from axial_deeplab.data.panoptic_png import check_segments, count_pixels, read_ids
from axial_deeplab.errors import InputError
from axial_deeplab.records import PanopticRecord


class SplitPaths(NamedTuple):
    """Where the three parts of a split are: the folder of images, the JSON, the folder of PNGs."""

    images: Path
    annotations: Path
    masks: Path


def find_split(root: Path | str, split: str) -> SplitPaths:
    """Find the parts of a split in one of the known layouts.

    Raises:
        InputError: There is no such split; says what was looked for and which splits there are.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: give the root of a COCO panoptic set")
    for name in (split, f"{split}2017"):
        annotations = root / "annotations" / f"panoptic_{name}.json"
        for images in (root / "images" / name, root / name):
            if annotations.is_file() and images.is_dir():
                return SplitPaths(images, annotations, annotations.with_suffix(""))
    splits = sorted(path.stem.removeprefix("panoptic_") for path in root.glob("annotations/panoptic_*.json"))
    raise InputError(
        f"{root} has no split '{split}': looked for annotations/panoptic_{split}.json (and panoptic_{split}2017.json) "
        f"with images/{split}/ or {split}/; JSON files are there for: {', '.join(splits) or 'no split'}"
    )


class CocoPanopticDataset(Dataset[PanopticRecord]):
    """The annotated images of a split.

    The JSON is checked at once; images and PNGs are checked as they are read.

    Attributes:
        categories: The classes, by contiguous id.
        paths: Where the parts of the split are.
    """

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        images: Path | str | None = None,
        annotations: Path | str | None = None,
        masks: Path | str | None = None,
    ) -> None:
        """Find and index a split.

        Args:
            root: The folder of the set.
            split: The name of the split, such as "train".
            images: The folder of images, if it is none of the known ones; relative to `root`, or absolute.
            annotations: The same for the JSON file.
            masks: The same for the folder of PNGs; by default the one named like `annotations`.

        Raises:
            InputError: There is no such split, the JSON is malformed, or its images and annotations do not go together.
        """
        self.paths = _choose_paths(Path(root), split, (images, annotations, masks))
        content = read_panoptic_json(self.paths.annotations)
        self.categories = content.categories
        self._image_names = content.images
        self._annotations = list(content.annotations.values())
        _check_images(content)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._annotations)

    def __getitem__(self, index: int) -> PanopticRecord:
        """Read an image with its segments, which get contiguous classes and the areas of the JSON or else of the PNG.

        Raises:
            InputError: The image or the PNG is absent or broken, they differ in size, or the PNG and the JSON do not
                agree on the segments; names the file.
        """
        annotation = self._annotations[index]
        file_name = self._image_names[annotation.image_id]
        image_path, mask_path = self.paths.images / file_name, self.paths.masks / annotation.file_name
        image = to_rgb_array(read_image(image_path))
        ids = read_ids(mask_path)
        if image.shape[:2] != ids.shape:
            sizes = ["×".join(map(str, shape)) for shape in (ids.shape, image.shape[:2])]
            raise InputError(f"{mask_path} has {sizes[0]} pixels but {image_path} has {sizes[1]}: scale neither alone")
        area = count_pixels(ids)
        check_segments(area, annotation.segments, str(mask_path))
        segments = tuple(segment._replace(area=segment.area or area[segment.id]) for segment in annotation.segments)
        pixels_first = torch.from_numpy(image).permute(2, 0, 1).contiguous()  # [3, height, width]
        return PanopticRecord(pixels_first, torch.from_numpy(ids), segments, annotation.image_id, file_name)


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


def _choose_paths(
    root: Path, split: str, given: tuple[Path | str | None, Path | str | None, Path | str | None]
) -> SplitPaths:
    """Return the given parts, and find the others."""
    images, annotations, masks = (None if path is None else root / path for path in given)
    if images is None or annotations is None:
        found = find_split(root, split)
        images, annotations = images or found.images, annotations or found.annotations
    return SplitPaths(images, annotations, masks or annotations.with_suffix(""))
