"""From photographs to classes: one image in Python, or files and folders to a JSON file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from axial_deeplab.checkpoints.load import CheckpointConfig
from axial_deeplab.data.classification.preprocess import ClassPreprocess
from axial_deeplab.data.files import write_json
from axial_deeplab.data.image_folder import find_images
from axial_deeplab.data.transforms import normalize_batch
from axial_deeplab.errors import InputError
from axial_deeplab.predict import ImageLike, PredictSummary, place_model, show_progress, to_tensor
from axial_deeplab.records import ClassificationPrediction
from axial_deeplab.serialization import from_plain

TOP = 5
"""int: Classes that are written for each image."""


class ClassPredictor:
    """Classify images with one network.

    Args:
        model: Maps normalised images to logits; moved to the device and put into evaluation mode.
        config: From the network's checkpoint.
        device: Where to run; `None` takes a GPU if there is one.
        use_bfloat16: Compute in bfloat16 where that is safe; `None` does so on GPUs that can.

    Attributes:
        categories: The class table, in the order of the outputs.
    """

    def __init__(
        self,
        model: nn.Module,
        config: CheckpointConfig,
        device: str | torch.device | None = None,
        *,
        use_bfloat16: bool | None = None,
    ) -> None:
        if config.task != "classification":
            raise InputError(f"{config.model} does not classify images: its checkpoint is for {config.task}")
        if config.untrained:
            raise InputError(f"{config.model} has random weights in {', '.join(config.untrained)}: train it first")
        self.model, self.device, self.use_bfloat16 = place_model(model, device, use_bfloat16)
        self.config, self.categories = config, config.categories
        self.preprocess = from_plain(ClassPreprocess, config.preprocess, where="the checkpoint's preprocess")

    def __call__(self, image: ImageLike) -> ClassificationPrediction:
        """Classify one image: a path, a PIL image, or uint8 [height, width, 3]."""
        prepared = self.preprocess.prepare(to_tensor(image))
        probs, order = self.compute_logits(prepared[None])[0].softmax(0).sort(descending=True, stable=True)
        names = tuple(self.categories[number].name for number in order.tolist())
        return ClassificationPrediction(names, tuple(probs.tolist()))

    @torch.inference_mode()
    def compute_logits(self, images: Tensor) -> Tensor:
        """Return the logits of prepared images: uint8 [batch, 3, height, width] to float32 [batch, class] on the CPU."""
        pixels = normalize_batch(images.to(self.device), self.preprocess.mean, self.preprocess.std)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.use_bfloat16):
            return self.model(pixels).float().cpu()


def classify_files(inputs: Sequence[str], predictor: ClassPredictor, output: str | Path) -> PredictSummary:
    """Classify files, folders and glob patterns; print the best classes of each and write them to `predictions.json`.

    A file that cannot be read is named on stderr and left out. The JSON file is a list with an object for each image: `image`,
    the path, and `classes`, a list of `name` and `probability`, the likeliest first.

    Raises:
        InputError: If the inputs name no file, or the output cannot be written.
    """
    paths = find_images(inputs)
    summary = PredictSummary([], [])
    rows: list[dict[str, Any]] = []
    for position, path in enumerate(paths):
        show_progress(position + 1, len(paths))
        try:
            prediction = predictor(path)
        except (InputError, torch.OutOfMemoryError) as error:
            memory = f"{path} is too large for the GPU's memory: use --device cpu"
            print(memory if isinstance(error, torch.OutOfMemoryError) else error, file=sys.stderr)
            summary.failed.append(path)
            continue
        best = prediction.list_best(TOP)
        print(f"{path}  " + "  ".join(f"{name} {probability:.1%}" for name, probability in best))
        classes = [{"name": name, "probability": probability} for name, probability in best]
        rows.append({"image": str(path), "classes": classes})
        summary.done.append(path)
    write_json(Path(output) / "predictions.json", rows, indent=2)
    return summary
