"""Pure functions of tensors: no parameters, no norms, no state."""

from axial_deeplab.ops.axial_attention import RelativeTables, axial_attention
from axial_deeplab.ops.moments import SimilarityMoments, compute_similarity_moments

__all__ = ["RelativeTables", "SimilarityMoments", "axial_attention", "compute_similarity_moments"]
