"""Checkpoint folders in transformers: one import registers the classes, and `Auto*` classes and pipelines open the folders.

```python
import axial_deeplab.huggingface
from transformers import pipeline

segments = pipeline("image-segmentation", model="runs/nuclei/checkpoint")("photo.png")
```

Needs the extra 'hf', and not torchvision. The folder is what `axial_deeplab.checkpoints.save_checkpoint` writes, nothing else.
"""

try:
    import transformers  # noqa: F401
except ImportError:
    raise ImportError("axial_deeplab.huggingface needs transformers: pip install 'axial-deeplab[hf]'") from None

from axial_deeplab.huggingface.config import AxialDeepLabClassifierConfig, AxialDeepLabConfig
from axial_deeplab.huggingface.models import (
    AxialDeepLabForImageClassification,
    AxialDeepLabForUniversalSegmentation,
    AxialDeepLabOutput,
)
from axial_deeplab.huggingface.processors import AxialDeepLabClassifierImageProcessor, AxialDeepLabImageProcessor
from axial_deeplab.huggingface.register import register

__all__ = [
    "AxialDeepLabClassifierConfig",
    "AxialDeepLabClassifierImageProcessor",
    "AxialDeepLabConfig",
    "AxialDeepLabForImageClassification",
    "AxialDeepLabForUniversalSegmentation",
    "AxialDeepLabImageProcessor",
    "AxialDeepLabOutput",
]

register()
