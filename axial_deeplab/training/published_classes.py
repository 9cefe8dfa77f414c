"""What is printed about classifiers on ImageNet, to stand beside our recipes.

Source: Axial-DeepLab (arXiv 2003.07853), table 1; rows of the appendix are known second-hand only; the authors' README.
"""

from typing import NamedTuple

from axial_deeplab.training.published import FROM_MEMORY


class ClassRow(NamedTuple):
    """One published score.

    Attributes:
        table: "1" of the paper, "A" of its appendix, or "README" of the authors' code.
        recipe: Which recipe trains that network.
        params_m: Parameters in millions.
        multiply_adds_g: Multiply-adds of a 224x224 image in billions; `None` where they are not printed.
        top1: Percent on the validation set.
        note: What to know about the figures.
    """

    table: str
    recipe: str
    params_m: float
    multiply_adds_g: float | None
    top1: float
    note: str = ""


CLASS_TITLES = {
    "1": "ImageNet val, top-1",
    "A": "ImageNet val, top-1, other widths (appendix)",
    "README": "ImageNet val, top-1, the authors' PyTorch code",
}
"""dict: The tables and what they are scored on."""

CLASS_ROWS = (
    ClassRow("1", "imagenet_resnet50", 25.6, 4.1, 76.9, "run by the authors of stand-alone self-attention"),
    ClassRow("1", "imagenet_sasa_resnet50", 18.0, 3.5, 77.7),
    ClassRow("1", "imagenet_position_sensitive_resnet50", 18.0, 3.7, 78.1),
    ClassRow("1", "imagenet_axial_resnet50_s", 12.4, 2.8, 77.5),
    ClassRow("1", "imagenet_axial_resnet50_s_full", 12.5, 3.3, 78.1),
    ClassRow("A", "imagenet_axial_resnet50_m", 26.4, 5.7, 78.6, FROM_MEMORY),
    ClassRow("A", "imagenet_axial_resnet50_l", 45.6, 9.6, 79.0, FROM_MEMORY),
    ClassRow("A", "imagenet_axial_resnet50_m_full", 26.5, 6.8, 79.2, FROM_MEMORY),
    ClassRow("A", "imagenet_axial_resnet50_l_full", 45.8, 11.6, 79.3, FROM_MEMORY),
    ClassRow("README", "imagenet_authors_axial26s", 5.9, None, 75.8),
)
"""tuple: In the order of the sources."""
