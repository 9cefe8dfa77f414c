"""Open a checkpoint for prediction, whatever its task."""

from pathlib import Path

import torch

from axial_deeplab.checkpoints.load import load_checkpoint
from axial_deeplab.classify import ClassPredictor
from axial_deeplab.errors import InputError
from axial_deeplab.inference import DEFAULT_CONFIG, InferenceConfig
from axial_deeplab.layers.folding import fold_norms
from axial_deeplab.predict import Predictor


def load(
    checkpoint: str | Path,
    device: str | torch.device | None = None,
    *,
    inference: InferenceConfig = DEFAULT_CONFIG,
) -> Predictor | ClassPredictor:
    """Load a checkpoint, a folder or a trainer's `.ckpt`, for prediction; in bfloat16 its norms are folded, which is faster.

    Returns:
        By the task in the checkpoint's config a predictor that segments images, or one that classifies them. For type checkers
        that is a union: `predict.load` takes segmentation alone and returns a `Predictor`.

    Raises:
        InputError: If there is no checkpoint, or `inference` asks for what a classifier does not do.
    """
    model, config = load_checkpoint(checkpoint)
    predictor: Predictor | ClassPredictor
    if config.task == "classification":
        if inference != DEFAULT_CONFIG:
            raise InputError(f"{checkpoint} classifies images: it takes no scales, flip, tile or overlap")
        predictor = ClassPredictor(model, config, device)
    else:
        predictor = Predictor(model, config, device, inference=inference)
    if predictor.use_bfloat16:
        fold_norms(predictor.model, dtype=torch.bfloat16)
    return predictor
