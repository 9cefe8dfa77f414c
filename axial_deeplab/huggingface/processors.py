"""Image processors of transformers around our preparation and post-processing: Pillow and torch, no torchvision."""

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature
from transformers.image_utils import load_image

from axial_deeplab.data.classification.preprocess import ClassPreprocess
from axial_deeplab.data.transforms import (
    Geometry,
    Preprocess,
    find_segments,
    fit_longest_side,
    normalize_batch,
    prepare,
    restore_map,
    restore_output,
)
from axial_deeplab.errors import InputError
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.predict import ImageLike, to_tensor
from axial_deeplab.records import PanopticOutput, PanopticPrediction, Segment
from axial_deeplab.serialization import from_plain

PIPELINE_THRESHOLD = 0.9
"""float: What a pipeline passes as `threshold` unless told otherwise, made for other scores than ours: it counts as 0."""

Size = tuple[int, int]


class SegmentationFields(TypedDict, total=False):
    """What `preprocessor_config.json` holds for a network that segments."""

    longest_side: int | None
    multiple: int
    image_mean: list[float]
    image_std: list[float]
    postprocess: dict[str, Any]
    is_thing: list[bool]
    void_class: int | None


class ClassificationFields(TypedDict, total=False):
    """What `preprocessor_config.json` holds for a classifier."""

    resize: int
    crop: int
    image_mean: list[float]
    image_std: list[float]


class CheckpointProcessor(BaseImageProcessor):
    """What both processors share: images of any kind in, and exactly their own fields on disk."""

    model_input_names = ["pixel_values"]  # noqa: RUF012 - the name and type that transformers has

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        missing = [name for name in self.valid_kwargs.__annotations__ if not hasattr(self, name)]
        if missing:
            raise InputError(f"{type(self).__name__} lacks {', '.join(missing)}: save the checkpoint again")

    def preprocess(self, images: Any, *, return_tensors: str | None = "pt") -> BatchFeature:
        """Prepare images for the network.

        Args:
            images: One or a list: paths, addresses, Pillow images, or uint8 [height, width, 3].
            return_tensors: "pt" or "np".

        Returns:
            `pixel_values`, float32 [batch, 3, height, width]; smaller images of a batch get zeros below and on the right.
        """
        if not isinstance(images, list | tuple):
            images = [images]
        prepared = [self._prepare(_read(image)) for image in images]
        height, width = (max(pixels.shape[axis] for pixels in prepared) for axis in (1, 2))
        batch = torch.stack([F.pad(x, (0, width - x.shape[2], 0, height - x.shape[1])) for x in prepared])
        return BatchFeature({"pixel_values": batch}, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        """Return the values of `preprocessor_config.json`."""
        fields = {name: getattr(self, name) for name in self.valid_kwargs.__annotations__}
        return {"image_processor_type": type(self).__name__} | fields

    def _prepare(self, image: Tensor) -> Tensor:
        raise NotImplementedError


class AxialDeepLabImageProcessor(CheckpointProcessor):
    """Prepare images for a network that segments, and turn its heads into segments as `axial-deeplab predict` does.

    Args:
        kwargs: See `SegmentationFields`; the names are those of `Preprocess`, `PostprocessConfig` and the checkpoint config.
    """

    valid_kwargs = SegmentationFields

    def post_process_panoptic_segmentation(
        self,
        outputs: Any,
        threshold: float = 0.0,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.5,
        target_sizes: Sequence[Size] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the segments of each image.

        Args:
            outputs: Of the model.
            threshold: Segments with a lower score become void; `PIPELINE_THRESHOLD` counts as 0.
            mask_threshold: Has no meaning here: segments are no masks of probabilities. Anything but 0.5 is refused.
            overlap_mask_area_threshold: Has no meaning here: segments do not overlap. Anything but 0.5 is refused.
            target_sizes: Height and width of each image as it was before `preprocess`; None takes the network's input for it.

        Returns:
            For each image `segmentation`, int32 [height, width] with ids, 0 where void, on the CPU, and `segments_info`, a list
            of `id`, `label_id`, `was_fused` (never), `score`, `area` and `is_thing`.
        """
        if mask_threshold != 0.5 or overlap_mask_area_threshold != 0.5:
            raise InputError("mask_threshold and overlap_mask_area_threshold have no meaning here: leave them out")
        least = 0.0 if threshold == PIPELINE_THRESHOLD else threshold
        return [_describe(prediction, least) for prediction in self._predict(outputs, target_sizes)]

    def post_process_instance_segmentation(
        self,
        outputs: Any,
        threshold: float = 0.0,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.5,
        target_sizes: Sequence[Size] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the things of each image; arguments and form are those of `post_process_panoptic_segmentation`."""
        images = self.post_process_panoptic_segmentation(
            outputs, threshold, mask_threshold, overlap_mask_area_threshold, target_sizes
        )
        return [
            _keep(image, [segment for segment in image["segments_info"] if segment["is_thing"]]) for image in images
        ]

    def post_process_semantic_segmentation(
        self, outputs: Any, target_sizes: Sequence[Size] | None = None
    ) -> list[Tensor]:
        """Return the most probable class of each pixel of each image, int64 [height, width], on the CPU."""
        return [
            restore_map(output.semantic_logits[0].argmax(0).cpu(), geometry)
            for output, geometry in self._split(outputs, target_sizes)
        ]

    def _prepare(self, image: Tensor) -> Tensor:
        values = {"longest_side": self.longest_side, "multiple": self.multiple}
        values |= {"mean": self.image_mean, "std": self.image_std}
        return prepare(image, from_plain(Preprocess, values, where=type(self).__name__))[0]

    def _predict(self, outputs: Any, target_sizes: Sequence[Size] | None) -> list[PanopticPrediction]:
        config = from_plain(PostprocessConfig, self.postprocess, where=f"{type(self).__name__}: postprocess")
        return [
            find_segments(output, geometry, self.is_thing, config, void_class=self.void_class)
            for output, geometry in self._split(outputs, target_sizes)
        ]

    def _split(self, outputs: Any, target_sizes: Sequence[Size] | None) -> list[tuple[PanopticOutput, Geometry]]:
        """Return the heads of each image without the padding, and where the image went."""
        heads = (outputs.semantic_logits, outputs.center_heatmap, outputs.offset)
        batch, padded = heads[0].shape[0], tuple(heads[0].shape[2:])
        sizes = [padded] * batch if target_sizes is None else [(int(h), int(w)) for h, w in target_sizes]
        if len(sizes) != batch:
            raise InputError(f"target_sizes has {len(sizes)} images, the outputs {batch}")
        pairs = []
        for number, size in enumerate(sizes):
            resized = size if target_sizes is None else fit_longest_side(size, self.longest_side)
            output = PanopticOutput(*(head[number : number + 1] for head in heads))
            pairs.append((restore_output(output, Geometry(resized, resized, padded)), Geometry(size, resized, padded)))
        return pairs


class AxialDeepLabClassifierImageProcessor(CheckpointProcessor):
    """Prepare images for a classifier as `axial-deeplab predict` does.

    Args:
        kwargs: See `ClassificationFields`; the names are those of `ClassPreprocess`.
    """

    valid_kwargs = ClassificationFields

    def _prepare(self, image: Tensor) -> Tensor:
        values = {"resize": self.resize, "crop": self.crop, "mean": self.image_mean, "std": self.image_std}
        preprocess = from_plain(ClassPreprocess, values, where=type(self).__name__)
        return normalize_batch(preprocess.prepare(image), preprocess.mean, preprocess.std)


def _read(image: ImageLike) -> Tensor:
    if isinstance(image, str) and image.startswith(("http://", "https://")):
        image = load_image(image)
    return to_tensor(image)


def _describe(prediction: PanopticPrediction, least: float) -> dict[str, Any]:
    kept = [_describe_segment(segment) for segment in prediction.segments if segment.score >= least]
    return _keep({"segmentation": prediction.panoptic_map, "segments_info": []}, kept)


def _describe_segment(segment: Segment) -> dict[str, Any]:
    return {
        "id": segment.id,
        "label_id": segment.category_id,
        "was_fused": False,
        "score": segment.score,
        "area": segment.area,
        "is_thing": segment.is_thing,
    }


def _keep(image: dict[str, Any], segments: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the image with these segments alone; the others become void."""
    ids = image["segmentation"]
    kept = torch.isin(ids, torch.tensor([segment["id"] for segment in segments], dtype=ids.dtype))
    return {"segmentation": torch.where(kept, ids, torch.zeros_like(ids)), "segments_info": segments}
