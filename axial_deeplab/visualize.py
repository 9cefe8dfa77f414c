"""Draw segments over the photograph, with labels: an id map saved as it is looks black, these pictures are for eyes.

The same input gives the same picture.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from axial_deeplab.colors import VOID_COLOR, Color, Pixels, choose_colors
from axial_deeplab.errors import InputError
from axial_deeplab.records import Category, PanopticPrediction, Segment

MAX_LABELS = 40
"""int: An overlay names no more segments than this, the largest first."""

_LABELED_SHARE = 0.15  # of the image may lie under labels
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


class _Box(NamedTuple):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int

    def meets(self, other: "_Box") -> bool:
        """Tell whether two rectangles share a pixel."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )


def draw_overlay(
    image: Tensor | NDArray | Image.Image,
    prediction: PanopticPrediction,
    categories: Sequence[Category],
    *,
    opacity: float = 0.5,
    max_labels: int = MAX_LABELS,
) -> Image.Image:
    """Lay the segments over the image, with thin borders and a label for each that is large enough to carry one.

    A label is the name and, below a score of 1 (the truth has 1), the score in percent. Void is the gray photograph.

    Args:
        image: uint8, a tensor [3, height, width] or an array [height, width, 3], or a Pillow image.
        prediction: Segments of the same height and width; ground truth is drawn the same way.
        categories: The classes, by contiguous id.
        opacity: Weight of the segment colors in 0..1.
        max_labels: How many segments to name, the largest first; 0 names none, and `MAX_LABELS` is the most.

    Raises:
        InputError: The image is neither form, or its size is not that of the prediction.
    """
    pixels = to_pixels(image)
    index, segments = index_segments(prediction)
    if index.shape != pixels.shape[:2]:
        raise InputError(f"the image is {pixels.shape[:2]} but the prediction {index.shape}: restore its size first")
    colors = choose_colors(segments, categories)
    palette = np.array([VOID_COLOR, *colors], dtype=np.float32)
    blended = pixels * (1 - opacity) + palette[index] * opacity
    void = index == 0
    blended[void] = 0.45 * (pixels[void] @ _LUMA)[:, None]
    _draw_borders(blended, index)
    overlay = Image.fromarray(blended.round().clip(0, 255).astype(np.uint8))
    texts = [_name(segment, categories) for segment in segments]
    _draw_labels(overlay, index, texts, colors, max_labels)
    return overlay


def _name(segment: Segment, categories: Sequence[Category]) -> str:
    """Return the text of a label."""
    name = categories[segment.category_id].name
    return name if segment.score >= 1 else f"{name} {segment.score:.0%}"


def to_pixels(image: Tensor | NDArray | Image.Image) -> Pixels:
    """Return an image as a uint8 array [height, width, 3]; tensors are channels first, arrays channels last."""
    if isinstance(image, Tensor):
        image = (image.permute(1, 2, 0) if image.ndim == 3 else image).cpu().numpy()
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(
            f"need uint8 RGB as a tensor [3, height, width] or an array [height, width, 3], "
            f"not {pixels.dtype} of shape {pixels.shape} (height, width, channel)"
        )
    return pixels


def index_segments(prediction: PanopticPrediction) -> tuple[NDArray[np.int64], list[Segment]]:
    """Return a map of 1-based positions in the list of segments (0 is void), and that list by ascending id."""
    segments = sorted(prediction.segments, key=lambda segment: segment.id)
    ids = np.array([segment.id for segment in segments], dtype=np.int64)
    panoptic_map = prediction.panoptic_map.cpu().numpy()
    index = np.searchsorted(ids, panoptic_map, side="right")
    known = np.append(-1, ids)[index] == panoptic_map  # ids without a segment are void
    return np.where(known, index, 0), segments


def color_segments(prediction: PanopticPrediction, categories: Sequence[Category]) -> Pixels:
    """Return the segments in the colors of their overlay, without the photograph; void is gray."""
    index, segments = index_segments(prediction)
    return np.array([VOID_COLOR, *choose_colors(segments, categories)], dtype=np.uint8)[index]


def _draw_borders(blended: NDArray[np.float32], index: NDArray[np.int64]) -> None:
    """Draw thin lines between segments, in place: white if the picture is dark along them, else black."""
    lines = np.zeros(index.shape, dtype=bool)
    lines[:-1] |= index[:-1] != index[1:]
    lines[:, :-1] |= index[:, :-1] != index[:, 1:]
    for _ in range(round(min(index.shape) / 600)):  # thicker on large images
        lines[1:] |= lines[:-1]
        lines[:, 1:] |= lines[:, :-1]
    if lines.any():
        tone = 255 if (blended[lines] @ _LUMA).mean() < 150 else 0
        blended[lines] = 0.25 * blended[lines] + 0.75 * tone


def _draw_labels(
    overlay: Image.Image, index: NDArray[np.int64], texts: Sequence[str], colors: Sequence[Color], most: int
) -> None:
    """Name the largest segments, in place, each label where it hides no other."""
    size = max(10, round(min(index.shape) / 32))
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(overlay)
    shapes = [(round(draw.textlength(text, font)) + size // 2, round(1.3 * size)) for text in texts]
    stride = -(-max(index.shape) // 256)
    small = index[::stride, ::stride]
    depth = measure_depth(small)
    placed: list[_Box] = []
    # Small segments have fewer places to choose from: they come first.
    for position in reversed(_choose_labeled(index, shapes, smallest=size**2)[:most]):
        box = _find_place(small == position + 1, depth, stride, shapes[position], placed)
        if box is None:
            continue
        placed.append(box)
        ink = (0, 0, 0) if np.dot(colors[position], _LUMA) > 125 else (255, 255, 255)
        corners = (box.left, box.top, box.left + box.width - 1, box.top + box.height - 1)
        draw.rounded_rectangle(corners, radius=size // 4, fill=colors[position], outline=ink)
        draw.text((sum(corners[::2]) / 2, sum(corners[1::2]) / 2), texts[position], fill=ink, font=font, anchor="mm")


def _choose_labeled(index: NDArray[np.int64], shapes: Sequence[tuple[int, int]], *, smallest: int) -> list[int]:
    """List the positions of the segments worth a label, the largest first: labels shall not hide the picture."""
    areas = np.bincount(index.ravel(), minlength=len(shapes) + 1)[1:]
    chosen: list[int] = []
    budget = _LABELED_SHARE * index.size
    for position in np.argsort(-areas, kind="stable").tolist():
        budget -= shapes[position][0] * shapes[position][1]
        if areas[position] < smallest or budget < 0 or len(chosen) == MAX_LABELS:
            break
        chosen.append(position)
    return chosen


def measure_depth(index: NDArray[np.integer], *, most: int = 64) -> NDArray[np.int64]:
    """Return how many pixels each pixel lies from the edge of its segment or of the image, at most `most`."""
    depth = np.zeros(index.shape, dtype=np.int64)
    core = index[1:-1, 1:-1]
    inside = np.zeros(index.shape, dtype=bool)
    inside[1:-1, 1:-1] = (
        (core == index[:-2, 1:-1]) & (core == index[2:, 1:-1]) & (core == index[1:-1, :-2]) & (core == index[1:-1, 2:])
    )
    for _ in range(most):
        depth += inside
        shrunk = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
        inside[1:-1, 1:-1] &= shrunk
    return depth


def _find_place(
    mask: NDArray[np.bool_],
    depth: NDArray[np.int64],
    stride: int,
    shape: tuple[int, int],
    placed: Sequence[_Box],
) -> _Box | None:
    """Return the first free place for a label of a segment, or None."""
    height, width = ((side - 1) * stride + 1 for side in mask.shape)  # at most the size of the image
    if shape[0] > width or shape[1] > height or not mask.any():
        return None
    for x, y in _propose_centers(mask, depth, stride, shape):
        left = min(max(0, x - shape[0] // 2), width - shape[0])
        top = min(max(0, y - shape[1] // 2), height - shape[1])
        box = _Box(left, top, *shape)
        if not any(box.meets(other) for other in placed):
            return box
    return None


def _propose_centers(
    mask: NDArray[np.bool_], depth: NDArray[np.int64], stride: int, shape: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """List places for a label, best first: inside a large segment, from its depth outward; around a small one."""
    rows, columns = np.nonzero(mask)
    order = np.argsort(-depth[rows, columns], kind="stable")
    inside = [(int(columns[i]) * stride, int(rows[i]) * stride) for i in order[:: max(1, len(order) // 24)]]
    left, right, top, bottom = (int(end) * stride for end in (columns.min(), columns.max(), rows.min(), rows.max()))
    middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
    gap_x, gap_y = shape[0] // 2 + stride + 2, shape[1] // 2 + stride + 2
    around = [
        (middle_x, top - gap_y),
        (middle_x, bottom + gap_y),
        (right + gap_x, middle_y),
        (left - gap_x, middle_y),
    ]
    roomy = right - left > shape[0] and 2 * int(depth[rows, columns].max()) * stride > 1.5 * shape[1]
    yield from (inside + around if roomy else around + inside)
