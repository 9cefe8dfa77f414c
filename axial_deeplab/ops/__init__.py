"""Pure functions of tensors: no parameters, no norms, no state."""

from axial_deeplab.ops.axial_attention import (
    Backend,
    RelativeTables,
    attend_packed,
    axial_attention,
    compute_packed_moments,
    compute_packed_scales,
)
from axial_deeplab.ops.moments import SimilarityMoments, compute_similarity_moments

__all__ = [
    "Backend",
    "RelativeTables",
    "SimilarityMoments",
    "attend_packed",
    "axial_attention",
    "compute_packed_moments",
    "compute_packed_scales",
    "compute_similarity_moments",
]
