"""The one reader of panoptic sets: whatever the layout on disk, records in the terms of COCO panoptic."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from axial_deeplab.data.cityscapes_scoring import split_instance_ids
from axial_deeplab.data.convert.label_images import read_label_image
from axial_deeplab.data.image_folder import read_image, to_rgb_array
from axial_deeplab.data.layouts.detect import index_split
from axial_deeplab.data.layouts.split import ImageEntry
from axial_deeplab.data.panoptic_png import check_segments, count_pixels, read_ids
from axial_deeplab.errors import InputError
from axial_deeplab.records import VOID_ID, Category, PanopticRecord, Segment


class CocoPanopticDataset(Dataset[PanopticRecord]):
    """The annotated images of a split: COCO panoptic, Cityscapes, Mapillary Vistas, or what `dataset convert` wrote.

    Lists of images and JSON are checked at once; images and label images are checked as they are read.

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
        layout: str = "auto",
        version: str | None = None,
    ) -> None:
        """Find and index a split.

        Args:
            root: The folder of the set.
            split: The name of the split, such as "train".
            images: The folder of images, if it is none of the known ones; relative to `root`, or absolute. COCO panoptic only.
                "{split}" in it stands for the split.
            annotations: The same for the JSON file.
            masks: The same for the folder of PNGs; by default the one named like `annotations`.
            layout: "coco", "cityscapes", "mapillary", or "auto", which finds out.
            version: Of Mapillary Vistas, "1.2" or "2.0".

        Raises:
            InputError: There is no such split, a list is malformed, or images and annotations do not go together.
        """
        given = images, annotations, masks
        index = index_split(Path(root), split, layout=layout, version=version, given=given)
        self.categories, self.paths, self._images = index

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def __getitem__(self, index: int) -> PanopticRecord:
        """Read an image with its segments, which get contiguous classes and the areas of the JSON or else of the map.

        Raises:
            InputError: The image or its labels are absent or broken, they differ in size, or the label image and the list do
                not agree on the segments; names the file.
        """
        entry = self._images[index]
        image_path, label_path = self.paths.images / entry.file_name, self.paths.masks / entry.label_name
        image = to_rgb_array(read_image(image_path))
        ids = read_ids(label_path) if entry.segments is not None else read_label_image(label_path, str(label_path))
        if image.shape[:2] != ids.shape:
            sizes = ["×".join(map(str, shape)) for shape in (ids.shape, image.shape[:2])]
            raise InputError(f"{label_path} has {sizes[0]} pixels but {image_path} has {sizes[1]}: scale neither alone")
        ids, segments, blamed = _find_segments(ids, entry, self.categories, label_path)
        pixels_first = torch.from_numpy(image).permute(2, 0, 1).contiguous()  # [3, height, width]
        return PanopticRecord(pixels_first, torch.from_numpy(ids), segments, entry.image_id, entry.file_name, blamed)


def _find_segments(
    ids: np.ndarray, entry: ImageEntry, categories: tuple[Category, ...], path: Path
) -> tuple[np.ndarray, tuple[Segment, ...], Tensor | None]:
    """Return the map, int32 [height, width], void where no class counts, its segments with their areas, and what is blamed."""
    if entry.segments is None:
        try:
            truth = split_instance_ids(ids, categories)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        blamed = (truth.panoptic_map == VOID_ID) & ~truth.excused
        return truth.panoptic_map, tuple(truth.segments), torch.from_numpy(blamed) if blamed.any() else None
    if entry.void:
        ids = np.where(np.isin(ids, list(entry.void)), VOID_ID, ids)
    area = count_pixels(ids)
    check_segments(area, entry.segments, str(path))
    return ids, tuple(segment._replace(area=segment.area or area[segment.id]) for segment in entry.segments), None
