"""Modules around the ops. `AxialAttention` is a product of its own: it needs torch alone."""

from axial_deeplab.layers.axial_attention import AxialAttention
from axial_deeplab.layers.normalization import BatchNorm, freeze_norms, synchronize_norms

__all__ = ["AxialAttention", "BatchNorm", "freeze_norms", "synchronize_norms"]
