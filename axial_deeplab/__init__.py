"""Axial-DeepLab: stand-alone axial attention for classification and panoptic segmentation.

```python
import axial_deeplab

predictor = axial_deeplab.load("runs/demo/checkpoint")
prediction = predictor("street.jpg")
prediction.panoptic_map  # int32 [height, width], 0 where void
prediction.segments  # a list of Segment(id, category_id, is_thing, score, area)
```
"""

from typing import TYPE_CHECKING, Any

from axial_deeplab.errors import InputError
from axial_deeplab.layers import AxialAttention
from axial_deeplab.models import MODELS, axial_resnet50_s, build_model
from axial_deeplab.records import Category, PanopticOutput, PanopticPrediction, Segment

if TYPE_CHECKING:
    from axial_deeplab.predict import Predictor, load

__version__ = "0.1.0"

__all__ = [
    "MODELS",
    "AxialAttention",
    "Category",
    "InputError",
    "PanopticOutput",
    "PanopticPrediction",
    "Predictor",
    "Segment",
    "axial_resnet50_s",
    "build_model",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import prediction when it is first asked for: the layers and networks need torch alone."""
    if name in ("Predictor", "load"):
        from axial_deeplab import predict

        return getattr(predict, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
