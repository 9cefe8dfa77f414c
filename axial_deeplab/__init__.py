"""Axial-DeepLab: stand-alone axial attention for classification and panoptic segmentation.

```python
import axial_deeplab

predictor = axial_deeplab.load("runs/demo/checkpoint")
prediction = predictor("street.jpg")
prediction.panoptic_map  # int32 [height, width], 0 where void
prediction.segments  # a list of Segment(id, category_id, is_thing, score, area)
```

Names are imported when they are first used: the command line answers at once, and the layers need torch alone.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from axial_deeplab.classify import ClassPredictor
    from axial_deeplab.errors import InputError
    from axial_deeplab.layers import AxialAttention
    from axial_deeplab.loading import load
    from axial_deeplab.models import MODELS, axial_resnet50_s, build_model
    from axial_deeplab.predict import Predictor
    from axial_deeplab.records import Category, ClassificationPrediction, PanopticOutput, PanopticPrediction, Segment

__version__ = "0.1.0"

__all__ = [
    "MODELS",
    "AxialAttention",
    "Category",
    "ClassPredictor",
    "ClassificationPrediction",
    "InputError",
    "PanopticOutput",
    "PanopticPrediction",
    "Predictor",
    "Segment",
    "axial_resnet50_s",
    "build_model",
    "load",
]

_HOMES = {
    "errors": ("InputError",),
    "layers": ("AxialAttention",),
    "models": ("MODELS", "axial_resnet50_s", "build_model"),
    "classify": ("ClassPredictor",),
    "loading": ("load",),
    "predict": ("Predictor",),
    "records": ("Category", "ClassificationPrediction", "PanopticOutput", "PanopticPrediction", "Segment"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"axial_deeplab.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if "AXIAL_DEEPLAB_LOG" in os.environ:
    import_module("axial_deeplab.log").configure_log()
