"""The typed records that travel between the stages: one record a stage, functions in between.

```
image + id map -> PanopticRecord -> augment -> encode_targets -> PanopticTargets --\
                                                                                    panoptic_loss
image -> model -> PanopticOutput --------------------------------------------------/
                  PanopticOutput -> postprocess -> PanopticPrediction -> overlay | metrics | JSON + PNG
```

Conventions: `VOID_ID` (0) marks pixels of an id map that belong to no segment; `IGNORE_LABEL` (255) marks pixels whose
class is absent from the truth. `category_id` inside the program is contiguous, 0 .. num_classes - 1; a dataset's own ids
live at the border only (`data/catalog.py`).
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

VOID_ID = 0
"""int: Segment id of pixels that belong to no segment."""

IGNORE_LABEL = 255
"""int: Semantic label of pixels that take no part in training or scoring."""


class Category(NamedTuple):
    """One class: `id` is the dataset's own, the position in the category list is the contiguous one."""

    id: int
    name: str
    is_thing: bool
    color: tuple[int, int, int] | None = None  # RGB, 0..255


class Segment(NamedTuple):
    """One region of a panoptic map.

    `category_id` is contiguous. `score` lies in [0, 1] (1 for ground truth), `area` is in pixels. `is_crowd` marks a region
    that holds several objects which the annotator did not separate; predictions never have it.
    """

    id: int
    category_id: int
    is_thing: bool
    score: float = 1.0
    area: int = 0
    is_crowd: bool = False


class PanopticRecord(NamedTuple):
    """One annotated image, before and after augmentation.

    `blamed` is known of Cityscapes' instance ids alone: void that does not excuse instances in its AP; None is nowhere.
    """

    image: Tensor  # uint8 [3, height, width], RGB
    panoptic_map: Tensor  # int32 [height, width], segment ids, VOID_ID where unlabeled
    segments: tuple[Segment, ...]
    image_id: int | str
    file_name: str
    blamed: Tensor | None = None  # bool [height, width]


class PanopticTargets(NamedTuple):
    """What the heads should say, and how much each pixel counts. See `panoptic.targets.encode_targets`."""

    semantic: Tensor  # int64 [batch, height, width], contiguous class or IGNORE_LABEL
    semantic_weight: Tensor  # float32 [batch, height, width]
    center_heatmap: Tensor  # float32 [batch, height, width], 0..1
    center_weight: Tensor  # float32 [batch, height, width], 0 or 1
    offset: Tensor  # float32 [batch, 2, height, width], (y, x), center - pixel, in pixels
    offset_weight: Tensor  # float32 [batch, height, width], 0 or 1


class PanopticOutput(NamedTuple):
    """What a segmentation model returns, at the size of its input."""

    semantic_logits: Tensor  # [batch, class, height, width]
    center_heatmap: Tensor  # [batch, 1, height, width], raw, about 0..1
    offset: Tensor  # [batch, 2, height, width], (y, x), center - pixel, in positions of this grid

    def resize(self, height: int, width: int) -> "PanopticOutput":
        """Resize bilinearly with corners aligned, and scale the offsets to positions of the new grid, in float32.

        This is the only place where outputs change size: from the heads to the input, and from the input to the image. In
        bfloat16, neighbors on a peak of the heatmap would round to one value and become several centers.
        """
        output = PanopticOutput(*(x.to(torch.promote_types(x.dtype, torch.float32)) for x in self))
        old_height, old_width = self.semantic_logits.shape[2:]
        if (old_height, old_width) == (height, width):
            return output
        scale = output.offset.new_tensor([_scale_axis(old_height, height), _scale_axis(old_width, width)])
        resized = [F.interpolate(x, (height, width), mode="bilinear", align_corners=True) for x in output]
        return PanopticOutput(resized[0], resized[1], resized[2] * scale[:, None, None])


def _scale_axis(old: int, new: int) -> float:
    """Return how many positions of the new grid one of the old grid spans; corners aligned unless there is only one."""
    return (new - 1) / (old - 1) if old > 1 and new > 1 else new / old


@dataclass(frozen=True)
class ClassificationPrediction:
    """What a classifier says of one image.

    Attributes:
        names: All classes, the likeliest first.
        probabilities: Of these classes, 0 .. 1; their sum is 1.
    """

    names: tuple[str, ...]
    probabilities: tuple[float, ...]

    def list_best(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest classes with their probabilities, at most `count`."""
        return list(zip(self.names, self.probabilities, strict=True))[:count]


@dataclass(frozen=True)
class PanopticPrediction:
    """The segments of one image.

    Attributes:
        panoptic_map: int32 [height, width] of segment ids, `VOID_ID` where nothing was recognised.
        segments: One entry for every id in the map, ids ascending.
    """

    panoptic_map: Tensor
    segments: list[Segment] = field(default_factory=list)
