"""Position-sensitive axial attention as a layer: projection, three batch norms, attention along one axis."""

from typing import Any

import torch
from torch import Tensor, nn

from axial_deeplab.layers.normalization import BatchNorm, SimilarityNorm
from axial_deeplab.ops import Backend, RelativeTables, attend_packed, compute_packed_moments, compute_packed_scales
from axial_deeplab.ops.axial_attention import choose_backend
from axial_deeplab.ops.batch_norm import can_fuse
from axial_deeplab.ops.geometry import count_visible_pairs

AXES = {"depth": -3, "height": -2, "width": -1}


class AxialAttention(nn.Module):
    """Attend along one axis of [batch, channel, *spatial], with one to three spatial dimensions of any length.

    The input is projected to queries, keys and values for all heads at once; batch norm acts on these, on each similarity
    term, and on the two retrieved terms, which takes the place of a 1/sqrt(dim) factor. Lengths need not be known: positions
    come from tables of fixed size, and distances beyond `max_distance` share their end rows.

    Args:
        in_channels: Channels of the input.
        axis: "height", "width" or "depth": the last, second last or third last dimension being the width, height, depth.
        key_dim: Channels of a query or key in one head.
        value_dim: Channels of a value in one head; the output has `num_heads * value_dim` channels.
        num_heads: Number of heads.
        span: Keys that a query sees, itself in the middle (odd); `None` sees the whole axis.
        query_rpe: Add the term between a query and the relative position.
        key_rpe: Add the term between a key and the relative position.
        value_rpe: Let the output retrieve relative positions beside values.
        max_distance: Largest distance with a position vector of its own.

    Attributes:
        backend: Which backend of `ops.axial_attention` computes; may be set at any time.

    Source: Axial-DeepLab (arXiv 2003.07853), equation 4 and section 3.2; norms as in the authors' PyTorch code.
    """

    def __init__(
        self,
        in_channels: int,
        axis: str,
        *,
        key_dim: int,
        value_dim: int,
        num_heads: int = 8,
        span: int | None = None,
        query_rpe: bool = True,
        key_rpe: bool = True,
        value_rpe: bool = True,
        max_distance: int = 254,
    ) -> None:
        super().__init__()
        if axis not in AXES:
            raise ValueError(f"axis must be one of {', '.join(AXES)}, got {axis!r}")
        if span is not None and (span < 1 or span % 2 == 0):
            raise ValueError(f"span must be a positive odd number or None (global), got {span}")
        self.in_channels, self.axis, self.span, self.num_heads = in_channels, axis, span, num_heads
        self.key_dim, self.value_dim = key_dim, value_dim
        self.backend: Backend = "auto"
        depth = num_heads * (2 * key_dim + value_dim)
        rows = 2 * max_distance + 1
        self.qkv = nn.Linear(in_channels, depth, bias=False)
        self.qkv_norm = BatchNorm(depth, correction=0)
        self.query_table = nn.Parameter(torch.empty(rows, key_dim)) if query_rpe else None
        self.key_table = nn.Parameter(torch.empty(rows, key_dim)) if key_rpe else None
        self.value_table = nn.Parameter(torch.empty(rows, value_dim)) if value_rpe else None
        self.similarity_norm = SimilarityNorm(1 + query_rpe + key_rpe, num_heads)
        self.retrieved_norm = BatchNorm((1 + value_rpe) * num_heads * value_dim, correction=0)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projection with standard deviation `in_channels ** -0.5` and the tables with 1 (as deeplab2 does)."""
        nn.init.normal_(self.qkv.weight, std=self.in_channels**-0.5)
        for table in self.tables:
            if table is not None:
                nn.init.normal_(table)

    @property
    def tables(self) -> RelativeTables:
        """The relative position tables; `None` for a term that is switched off."""
        return RelativeTables(self.query_table, self.key_table, self.value_table)

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.num_heads * self.value_dim

    def forward(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """Map [batch, in_channels, *spatial] to [batch, out_channels, *spatial], then apply a ReLU if asked to."""
        channels_last = x.movedim(1, -1)
        raw = self._see_along_axis(self.qkv(channels_last))
        if self._ends_inside(raw):
            rows = self._attend_folded(raw, relu=relu)
        else:
            retrieved = self._attend_normed(raw) if self._normalizes_inside(raw) else self._attend(raw)
            add_halves = self.value_table is not None
            rows = self.retrieved_norm(retrieved.flatten(0, 2), add_halves=add_halves, relu=relu)
        return rows.reshape(*channels_last.shape[:-1], rows.shape[-1]).movedim(-1, 1)

    def _attend(self, raw: Tensor) -> Tensor:
        packed = self.qkv_norm(raw.flatten(0, 2)).view(raw.shape)
        return attend_packed(
            packed,
            tables=self.tables,
            scales=self.compute_scales(packed),
            num_heads=self.num_heads,
            key_dim=self.key_dim,
            span=self.span,
            backend=self.backend,
        )

    def _ends_inside(self, raw: Tensor) -> bool:
        """Whether the kernel applies the norm after it, which then has been folded to a scale and a shift."""
        return (
            hasattr(self.retrieved_norm, "affine")
            and not torch.is_grad_enabled()
            and choose_backend(raw, self.key_dim, self.value_dim, self.backend) == "triton"
        )

    def _attend_folded(self, raw: Tensor, *, relu: bool) -> Tensor:
        from axial_deeplab.ops.folded_attention import folded_attention

        options = (self.num_heads, self.key_dim, self.span, self.backend)
        scales = self.similarity_norm(None)
        return folded_attention(raw, *self.tables, scales, self.retrieved_norm.affine, relu, *options)

    def _normalizes_inside(self, raw: Tensor) -> bool:
        """Whether the kernels take care of the two norms before the softmax."""
        norms = (self.similarity_norm, self.qkv_norm)
        return (
            all(norm.has_batch_statistics(raw) for norm in norms)
            and norms[0].is_shared == norms[1].is_shared
            and can_fuse(raw.flatten(0, 2))
            and choose_backend(raw, self.key_dim, self.value_dim, self.backend) == "triton"
        )

    def _attend_normed(self, raw: Tensor) -> Tensor:
        from axial_deeplab.ops.normed_attention import attend_normed

        norm = self.similarity_norm
        retrieved, mean, variance = attend_normed(
            raw,
            self.qkv_norm.state,
            self.tables,
            norm.weight,
            num_heads=self.num_heads,
            key_dim=self.key_dim,
            span=self.span,
            eps=norm.eps,
            backend=self.backend,
        )
        lines = raw.shape[0] * raw.shape[2]
        norm.update_running_statistics(mean, variance, lines * count_visible_pairs(raw.shape[1], self.span))
        return retrieved

    def compute_scales(self, packed: Tensor) -> Tensor:
        """Return the factors [term, head] that the batch norm on the similarity terms comes down to."""
        norm = self.similarity_norm
        if not norm.has_batch_statistics(packed):
            return norm(None)
        options: Any = {"num_heads": self.num_heads, "key_dim": self.key_dim, "span": self.span}
        if norm.is_shared:
            return norm(compute_packed_moments(packed, self.tables, backend=self.backend, **options))
        scales, mean, variance = compute_packed_scales(
            packed, self.tables, norm.weight, eps=norm.eps, backend=self.backend, **options
        )
        lines = packed.shape[0] * packed.shape[2]
        norm.update_running_statistics(mean, variance, lines * count_visible_pairs(packed.shape[1], self.span))
        return scales

    def _see_along_axis(self, channels_last: Tensor) -> Tensor:
        """View [batch, *spatial, channels] as [outer, length, inner, channels] along the layer's axis."""
        dim = channels_last.ndim - 1 + AXES[self.axis]
        if dim < 1:
            spatial = tuple(channels_last.shape[1:-1])
            raise ValueError(f"the {self.axis} axis needs {-AXES[self.axis]} spatial dimensions, got {spatial}")
        outer = channels_last.flatten(0, dim - 1)  # [outer, length, *inner, channels]
        return outer.unsqueeze(2) if outer.ndim == 3 else outer.flatten(2, -2)

    def extra_repr(self) -> str:
        span = "global" if self.span is None else self.span
        return f"{self.in_channels}, axis={self.axis}, heads={self.num_heads}, span={span}"
