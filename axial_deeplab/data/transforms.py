"""Resize images and id maps, and cross the border between a photograph and the input of a network, both ways.

One convention everywhere: the centers of the corner pixels of the source land on the centers of the corner pixels of
the result ("align corners"), so an image, its ids and the outputs of the network stay on top of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from axial_deeplab.errors import InputError
from axial_deeplab.panoptic.postprocess import PostprocessConfig, postprocess
from axial_deeplab.records import PanopticOutput, PanopticPrediction, Segment

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""tuple: Mean of the ImageNet images (R, G, B), in units of 0..1."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""tuple: Standard deviation of the ImageNet images (R, G, B), in units of 0..1."""


def select_nearest(source: int, target: int) -> Tensor:
    """List, for every one of `target` positions, the nearest of `source` positions.

    Entry i is i * (source - 1) / (target - 1), halves rounded away from zero, in exact integer arithmetic.

    Source: deeplab2, which resizes labels so (TensorFlow's nearest neighbor with align_corners).
    """
    if target == 1:
        return torch.zeros(1, dtype=torch.int64)
    return (2 * torch.arange(target) * (source - 1) + target - 1) // (2 * (target - 1))


def resize_map(panoptic_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a map of ids or classes by selection: no value appears that was not there.

    Args:
        panoptic_map: Any dtype, [..., height, width].
        size: Height and width of the result.
    """
    if panoptic_map.shape[-2:] == size:
        return panoptic_map
    rows, columns = (select_nearest(panoptic_map.shape[axis], size[axis]).to(panoptic_map.device) for axis in (-2, -1))
    return panoptic_map.index_select(-2, rows).index_select(-1, columns)


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize an image, bilinear, with antialiasing along the axes that shrink.

    PyTorch's antialiased kernel does not align the corners and Pillow's cannot leave the image, so the image gets a rim
    of repeated border pixels and Pillow a box with fractional sides.

    Args:
        image: uint8 [3, height, width], on the CPU.
        size: Height and width of the result.
    """
    if image.shape[-2:] == size:
        return image
    (rim_y, top, bottom), (rim_x, left, right) = (
        _align_box(*sides) for sides in zip(image.shape[-2:], size, strict=True)
    )
    channels = image.numpy()
    if rim_y or rim_x:
        channels = np.pad(channels, ((0, 0), (rim_y, rim_y), (rim_x, rim_x)), mode="edge")
    box = (left, top, right, bottom)
    # One gray image a channel: the same numbers as RGB, without interleaving the channels and back.
    resized = [Image.fromarray(values).resize(size[::-1], Image.Resampling.BILINEAR, box) for values in channels]
    return torch.from_numpy(np.stack([np.asarray(channel) for channel in resized]))


def _align_box(source: int, target: int) -> tuple[int, float, float]:
    """Return the rim to add on both sides, and where the sampled interval starts and ends in the padded axis."""
    if source == 1 or target == 1:
        return 0, 0.0, float(source)
    step = (source - 1) / (target - 1)  # target pixel i is centered on source position i * step
    rim = max(0, int(np.ceil((step - 1) / 2)))
    start = rim + (1 - step) / 2
    return rim, start, start + target * step


def fit_longest_side(size: tuple[int, int], longest_side: int | None) -> tuple[int, int]:
    """Return height and width, in proportion, when the longer becomes `longest_side`; None keeps the size."""
    if longest_side is None:
        return size
    height, width = (max(1, round(side * longest_side / max(size))) for side in size)
    return height, width


def measure_segments(panoptic_map: Tensor, segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments that have pixels in the map, with their present areas, in the order given."""
    ids, counts = np.unique(panoptic_map.cpu().numpy(), return_counts=True)
    areas = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    return [segment._replace(area=areas[segment.id]) for segment in segments if segment.id in areas]


@dataclass(frozen=True)
class Preprocess:
    """How a photograph becomes the input of a network. Part of every checkpoint; JSON lists are taken for tuples.

    Attributes:
        longest_side: The longer side becomes this many pixels, up or down, the shorter one in proportion; None keeps
            the size.
        multiple: Both sides are padded to k * multiple + 1, k >= 1, so that strided feature maps nest.
        mean: Subtracted from the channels R, G, B, in units of 0..1.
        std: The channels are divided by this, in units of 0..1.
    """

    longest_side: int | None = None
    multiple: int = 16
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Check the numbers, so that a bad file fails where it is read."""
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.multiple < 1 or (self.longest_side is not None and self.longest_side < 1):
            raise InputError(f"longest_side and multiple must be at least 1, or longest_side null: {self}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise InputError(f"mean and std need one number for R, G and B, std above 0: {self}")


class Geometry(NamedTuple):
    """Where the image went: the sizes (height, width) on the way into the network, enough to come back exactly."""

    image_size: tuple[int, int]
    resized_size: tuple[int, int]
    padded_size: tuple[int, int]


def normalize_batch(images: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """Turn uint8 images into float32 (image / 255 - mean) / std, on the images' device.

    Args:
        images: uint8 [..., 3, height, width], RGB.
        mean: In units of 0..1.
        std: In units of 0..1.
    """
    scale, shift = (torch.tensor(value, device=images.device).view(3, 1, 1) for value in (std, mean))
    return (images / 255).sub_(shift).div_(scale)


def prepare(image: Tensor, preprocess: Preprocess) -> tuple[Tensor, Geometry]:
    """Resize, normalize and pad one image for a network.

    Args:
        image: uint8 [3, height, width], RGB, of any size from 1x1 up.
        preprocess: The border, as stored with the checkpoint.

    Returns:
        The input, float32 [3, padded height, padded width], zeros (the mean color) at the bottom and on the right, and
        the sizes that `restore_output`, `restore_map` and `restore_prediction` need.
    """
    image_size = (image.shape[-2], image.shape[-1])
    height, width = fit_longest_side(image_size, preprocess.longest_side)
    pixels = normalize_batch(resize_image(image, (height, width)), preprocess.mean, preprocess.std)
    padded_height, padded_width = (_pad_side(side, preprocess.multiple) for side in (height, width))
    padded = F.pad(pixels, (0, padded_width - width, 0, padded_height - height))
    return padded, Geometry(image_size, (height, width), (padded_height, padded_width))


def _pad_side(side: int, multiple: int) -> int:
    """Return the smallest k * multiple + 1, k >= 1, that holds the side."""
    return max(1, -(-(side - 1) // multiple)) * multiple + 1


def restore_output(output: PanopticOutput, geometry: Geometry) -> PanopticOutput:
    """Bring what the network said back to the size of the image: crop the padding, then resize."""
    height, width = geometry.resized_size
    cropped = PanopticOutput(*(values[..., :height, :width] for values in output))
    return cropped.resize(*geometry.image_size)


def restore_map(panoptic_map: Tensor, geometry: Geometry) -> Tensor:
    """Bring a map of ids or classes [..., padded height, padded width] back to the size of the image."""
    height, width = geometry.resized_size
    return resize_map(panoptic_map[..., :height, :width], geometry.image_size)


def restore_prediction(prediction: PanopticPrediction, geometry: Geometry) -> PanopticPrediction:
    """Bring a prediction back to the size of the image; areas are counted anew, segments without pixels dropped."""
    panoptic_map = restore_map(prediction.panoptic_map, geometry)
    return PanopticPrediction(panoptic_map, measure_segments(panoptic_map, prediction.segments))


def find_segments(
    output: PanopticOutput,
    geometry: Geometry,
    is_thing: Sequence[bool],
    config: PostprocessConfig,
    *,
    void_class: int | None = None,
) -> PanopticPrediction:
    """Turn the heads for one image into segments at the size of the image, on the CPU.

    Post-processing works without the padding, so that no segment gains from it, and before the resize to the image's size,
    because ids are much smaller than logits.

    Args:
        output: Heads of batch size 1, at `geometry.resized_size`.
        geometry: Where the image went.
        is_thing: For each class, whether its instances are told apart.
        config: Thresholds.
        void_class: A class that becomes void.
    """
    (prediction,) = postprocess(output, is_thing, config, void_class=void_class)
    return restore_prediction(PanopticPrediction(prediction.panoptic_map.cpu(), prediction.segments), geometry)
