"""Tell transformers which class opens which folder."""

from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForImageSegmentation,
    AutoModelForUniversalSegmentation,
)
from transformers.models.auto import modeling_auto

# Not from `transformers`: without torchvision 5.17 has a placeholder there.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from axial_deeplab.huggingface.config import AxialDeepLabClassifierConfig, AxialDeepLabConfig
from axial_deeplab.huggingface.models import AxialDeepLabForImageClassification, AxialDeepLabForUniversalSegmentation
from axial_deeplab.huggingface.processors import AxialDeepLabClassifierImageProcessor, AxialDeepLabImageProcessor


def register() -> None:
    """Register the classes; a second call changes nothing.

    A pipeline for image segmentation opens a folder through `AutoModelForImageSegmentation` alone, and logs that a model is not
    supported unless its name is in transformers' own table.
    """
    AutoConfig.register(AxialDeepLabConfig.model_type, AxialDeepLabConfig, exist_ok=True)
    AutoConfig.register(AxialDeepLabClassifierConfig.model_type, AxialDeepLabClassifierConfig, exist_ok=True)
    for auto in (AutoModelForUniversalSegmentation, AutoModelForImageSegmentation):
        auto.register(AxialDeepLabConfig, AxialDeepLabForUniversalSegmentation, exist_ok=True)
    AutoModelForImageClassification.register(
        AxialDeepLabClassifierConfig, AxialDeepLabForImageClassification, exist_ok=True
    )
    segmenters = modeling_auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES
    segmenters[AxialDeepLabConfig.model_type] = AxialDeepLabForUniversalSegmentation.__name__
    classifiers = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    classifiers[AxialDeepLabClassifierConfig.model_type] = AxialDeepLabForImageClassification.__name__
    for config, processor in (
        (AxialDeepLabConfig, AxialDeepLabImageProcessor),
        (AxialDeepLabClassifierConfig, AxialDeepLabClassifierImageProcessor),
    ):
        # One class for both backends: it works with Pillow and torch, whether torchvision is there or not.
        AutoImageProcessor.register(
            config, image_processor_classes={"pil": processor, "torchvision": processor}, exist_ok=True
        )
