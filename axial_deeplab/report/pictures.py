"""Pictures of a report: overlays with outlines around the objects that went wrong."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from axial_deeplab.colors import Color
from axial_deeplab.data.transforms import resize_image, resize_map
from axial_deeplab.metrics.object_errors import ObjectErrors
from axial_deeplab.records import Category, PanopticPrediction
from axial_deeplab.visualize import draw_overlay, measure_depth

MARKS: dict[str, Color] = {
    "missed": (255, 40, 40),
    "invented": (255, 225, 0),
    "merged": (0, 235, 255),
    "split": (255, 60, 255),
    "wrong class": (70, 110, 255),
    "inexact": (150, 150, 150),
}
"""dict: Colors of the outlines, by what went wrong."""

SIDES = (480, 1024)
"""tuple: The longer side of a picture, in pixels: small images are enlarged by a whole factor, large ones reduced."""

_OPACITY = 0.35
_QUALITY = 82  # of JPEG


class Pictured(NamedTuple):
    """An image with its truth and its prediction, all of one height and width."""

    image: Tensor  # uint8 [3, height, width]
    truth: PanopticPrediction
    prediction: PanopticPrediction


def draw_pictures(pictured: Pictured, errors: ObjectErrors, categories: Sequence[Category]) -> list[Image.Image]:
    """Return the image, the truth and the prediction as pictures of one size, what went wrong outlined."""
    height, width = pictured.image.shape[1:]
    photo = resize_image(pictured.image, choose_size(height, width))
    truth_marks, prediction_marks = choose_marks(errors)
    return [
        Image.fromarray(photo.permute(1, 2, 0).numpy()),
        _draw_marked(photo, pictured.truth, truth_marks, categories),
        _draw_marked(photo, pictured.prediction, prediction_marks, categories),
    ]


def choose_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width of the pictures of an image."""
    longest = max(height, width)
    factor = min(1, SIDES[1] / longest) if longest > SIDES[0] else -(-SIDES[0] // longest)
    return max(1, round(height * factor)), max(1, round(width * factor))


def choose_marks(errors: ObjectErrors) -> tuple[dict[int, Color], dict[int, Color]]:
    """Return the colors of the outlines in truth and prediction, by segment id.

    Of a merge and of a split all parts are marked, on both sides, those that match too.
    """
    kinds = {"merging": "merged", "piece": "split"}
    truth = {number: MARKS[v.kind] for number, v in errors.objects.items() if v.kind in MARKS}
    prediction = {
        number: MARKS[kinds.get(v.kind, v.kind)]
        for number, v in errors.predictions.items()
        if kinds.get(v.kind, v.kind) in MARKS
    }
    for guess, objects in errors.merges.items():
        prediction[guess] = MARKS["merged"]
        truth |= dict.fromkeys(objects, MARKS["merged"])
    for actual, pieces in errors.splits.items():
        truth[actual] = MARKS["split"]
        prediction |= dict.fromkeys(pieces, MARKS["split"])
    return truth, prediction


def draw_outlines(picture: Image.Image, ids: NDArray[np.integer], marks: Mapping[int, Color]) -> None:
    """Outline segments in place, inside along their edges, with a black line around; `ids` is [height, width]."""
    numbers = np.array(sorted(marks), dtype=np.int64)
    if not numbers.size:
        return
    pixels = np.array(picture)
    width = max(2, round(max(ids.shape) / 300))
    edge = np.isin(ids, numbers) & (measure_depth(ids, most=width) < width)
    slot = np.searchsorted(numbers, ids[edge])
    around = edge.copy()
    around[1:] |= edge[:-1]
    around[:-1] |= edge[1:]
    around[:, 1:] |= edge[:, :-1]
    around[:, :-1] |= edge[:, 1:]
    pixels[around] = 0
    pixels[edge] = np.array([marks[number] for number in numbers.tolist()], dtype=np.uint8)[slot]
    picture.paste(Image.fromarray(pixels))


def encode_picture(picture: Image.Image) -> str:
    """Return a picture as the address of its own JPEG data, for `<img src>`."""
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _draw_marked(
    photo: Tensor, segments: PanopticPrediction, marks: Mapping[int, Color], categories: Sequence[Category]
) -> Image.Image:
    panoptic_map = resize_map(segments.panoptic_map, (photo.shape[1], photo.shape[2]))
    enlarged = PanopticPrediction(panoptic_map, segments.segments)
    overlay = draw_overlay(photo, enlarged, categories, opacity=_OPACITY, max_labels=0)
    draw_outlines(overlay, panoptic_map.numpy(), marks)
    return overlay
