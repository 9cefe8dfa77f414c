"""Write predictions as class maps: one gray PNG an image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from axial_deeplab.data.files import write_png
from axial_deeplab.errors import InputError
from axial_deeplab.panoptic.labels import to_semantic
from axial_deeplab.records import IGNORE_LABEL, Category, PanopticPrediction


class SemanticWriter:
    """Write the id of the class of each pixel, 8 bits.

    Attributes:
        folder: Where the PNGs go, each named by the id of its image and `suffix`.
    """

    def __init__(
        self, folder: Path | str, categories: Sequence[Category], *, void: int = IGNORE_LABEL, suffix: str = ".png"
    ) -> None:
        """Prepare to write.

        Args:
            folder: For the PNGs.
            categories: The position of a class is its contiguous id; its `id` is written.
            void: What void pixels get.
            suffix: End of the file names.

        Raises:
            InputError: The ids do not fit into 8 bits, or one is that of void.
        """
        self.folder, self._suffix = Path(folder), suffix
        ids = [category.id for category in categories]
        if wrong := [number for number in ids if not 0 <= number <= 255 or number == void]:
            raise InputError(f"the class id {wrong[0]} cannot be written: semantic maps hold 0 .. 255, {void} is void")
        self._table = np.full(IGNORE_LABEL + 1, void, np.uint8)
        self._table[: len(ids)] = ids

    def add(self, image_id: int | str, file_name: str, prediction: PanopticPrediction) -> None:
        """Write one image.

        Raises:
            InputError: The file cannot be written, or map and segments of `file_name` do not agree.
        """
        classes = to_semantic(prediction).cpu().numpy()
        write_png(self.folder / f"{image_id}{self._suffix}", self._table.take(classes))
