"""Attention inside a square window around each position: stand-alone self-attention and its position-sensitive form.

For one head, a query at `o` and keys at the positions `p` of the map at most `(window - 1) / 2` rows and columns away,

    logit[o, p] = a1 q[o].k[p]  +  a2 q[o].rq[p - o]  +  a3 k[p].rk[p - o]
    out[o]      = norm(sum over p of softmax(logit)[o, p] v[p])  +  norm(sum over p of softmax(logit)[o, p] rv[p - o])

Stand-alone self-attention has the query's position term alone. The vector of an offset is the vector of its rows beside that
of its columns, each half as long, shared by all heads. Scales and norms are those of `AxialAttention`.

Cost and memory are linear in the window's area. One offset is taken at a time, as a view of the padded map, so that a map of
`window ** 2` keys for each query is never made; maps of logits are.

Source: Axial-DeepLab (arXiv 2003.07853), equations 2 and 3; Stand-Alone Self-Attention (arXiv 1906.05909), section 3.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axial_deeplab.layers.normalization import BatchNorm, SimilarityNorm
from axial_deeplab.ops import RelativeTables
from axial_deeplab.ops.moments import SimilarityMoments


class LocalAttention(nn.Module):
    """Attend inside a window of [batch, channel, height, width], of any size; keys outside of the map are not seen.

    Args:
        in_channels: Channels of the input.
        key_dim: Channels of a query or key in one head.
        value_dim: Channels of a value in one head; the output has `num_heads * value_dim` channels.
        num_heads: Number of heads.
        window: Rows and columns of the window, odd.
        query_rpe: Add the term between a query and the relative position; needs an even `key_dim`.
        key_rpe: Add the term between a key and the relative position; needs an even `key_dim`.
        value_rpe: Let the output retrieve relative positions beside values; needs an even `value_dim`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        key_dim: int,
        value_dim: int,
        num_heads: int = 8,
        window: int = 7,
        query_rpe: bool = True,
        key_rpe: bool = False,
        value_rpe: bool = False,
    ) -> None:
        super().__init__()
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window must be a positive odd number, got {window}")
        if ((query_rpe or key_rpe) and key_dim % 2) or (value_rpe and value_dim % 2):
            raise ValueError(f"halves for rows and columns need even dimensions, got {key_dim} and {value_dim}")
        self.in_channels, self.num_heads, self.window = in_channels, num_heads, window
        self.key_dim, self.value_dim = key_dim, value_dim
        self.qkv = nn.Conv2d(in_channels, num_heads * (2 * key_dim + value_dim), 1, bias=False)
        self.qkv_norm = BatchNorm(self.qkv.out_channels, correction=0)
        self.query_table = nn.Parameter(torch.empty(2, window, key_dim // 2)) if query_rpe else None
        self.key_table = nn.Parameter(torch.empty(2, window, key_dim // 2)) if key_rpe else None
        self.value_table = nn.Parameter(torch.empty(2, window, value_dim // 2)) if value_rpe else None
        self.similarity_norm = SimilarityNorm(1 + query_rpe + key_rpe, num_heads)
        self.retrieved_norm = BatchNorm((1 + value_rpe) * num_heads * value_dim, correction=0)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the projection with standard deviation `in_channels ** -0.5` and the tables with 1, as `AxialAttention`."""
        nn.init.normal_(self.qkv.weight, std=self.in_channels**-0.5)
        for table in self.tables:
            if table is not None:
                nn.init.normal_(table)

    @property
    def tables(self) -> RelativeTables:
        """Vectors by signed offset, rows first, then columns: [2, window, dim / 2]; `None` for a term switched off."""
        return RelativeTables(self.query_table, self.key_table, self.value_table)

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.num_heads * self.value_dim

    def forward(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """Map [batch, in_channels, height, width] to [batch, out_channels, height, width], with a ReLU if asked to."""
        packed = self.qkv_norm(self.qkv(x))
        key_depth = self.num_heads * self.key_dim
        q, k, v = (
            part.unflatten(1, (self.num_heads, -1))
            for part in packed.split([key_depth, key_depth, self.out_channels], 1)
        )
        terms = compute_window_terms(q, k, self.tables, self.window)
        visible = compute_window_visibility(x.shape[2], x.shape[3], self.window, x.device)
        scales = self._compute_scales(terms, visible, x)
        weights = compute_window_weights(terms, scales, visible)
        retrieved = retrieve_from_window(weights, v, self.tables.value, self.window)
        return self.retrieved_norm(retrieved, add_halves=self.value_table is not None, relu=relu)

    def _compute_scales(self, terms: list[Tensor], visible: Tensor, x: Tensor) -> Tensor:
        if not self.similarity_norm.has_batch_statistics(x):
            return self.similarity_norm(None)
        total = torch.stack([term.sum((0, 2, 3, 4), dtype=torch.float64) for term in terms])
        squares = torch.stack([term.square().sum((0, 2, 3, 4), dtype=torch.float64) for term in terms])
        return self.similarity_norm(SimilarityMoments(total, squares, visible.sum(dtype=torch.float64) * x.shape[0]))

    def extra_repr(self) -> str:
        return f"{self.in_channels}, heads={self.num_heads}, window={self.window}"


def compute_window_terms(q: Tensor, k: Tensor, tables: RelativeTables, window: int) -> list[Tensor]:
    """Return the content, query and key terms that are switched on, unscaled, 0 for keys outside of the map.

    Args:
        q: [batch, head, key_dim, height, width].
        k: The same.
        tables: [2, window, key_dim / 2] each.
        window: Rows and columns.

    Returns:
        [batch, head, window ** 2, height, width] each, float32 or wider, offsets in raster order.
    """
    dtype = torch.promote_types(q.dtype, torch.float32)
    terms = [torch.stack([(q * seen).sum(2, dtype=dtype) for seen in _shift(k, window)], dim=2)]
    if tables.query is not None:
        visible = compute_window_visibility(q.shape[3], q.shape[4], window, q.device)
        terms.append(_multiply_positions(q, tables.query).to(dtype) * visible)
    if tables.key is not None:
        at_key = _multiply_positions(k, tables.key).to(dtype)
        terms.append(torch.stack([seen[:, :, i] for i, seen in enumerate(_shift(at_key, window))], dim=2))
    return terms


def compute_window_weights(terms: list[Tensor], scales: Tensor, visible: Tensor) -> Tensor:
    """Return the softmax over the visible keys of each query, in the shape of a term; `scales` is [term, head]."""
    logits = sum(scale.view(-1, 1, 1, 1).to(term.dtype) * term for scale, term in zip(scales, terms, strict=True))
    assert isinstance(logits, Tensor)  # sum() of at least one term
    return logits.masked_fill(~visible, -torch.inf).softmax(dim=2)


def retrieve_from_window(weights: Tensor, v: Tensor, table: Tensor | None, window: int) -> Tensor:
    """Return the weighted values of all heads, and after them the weighted position vectors if there is a table.

    Args:
        weights: [batch, head, window ** 2, height, width].
        v: [batch, head, value_dim, height, width].
        table: [2, window, value_dim / 2].
        window: Rows and columns.

    Returns:
        [batch, channel, height, width] in the type of `v`.
    """
    content = torch.zeros_like(v, dtype=weights.dtype)
    for weight, seen in zip(weights.unbind(2), _shift(v, window), strict=True):
        content = content + weight.unsqueeze(2) * seen
    if table is None:
        return content.flatten(1, 2).to(v.dtype)
    by_offset = weights.unflatten(2, (window, window))  # a row's vector is met in every column, and the other way round
    halves = [
        torch.einsum("bhmyx,md->bhdyx", by_offset.sum(dim).to(part.dtype), part)
        for dim, part in zip((3, 2), table, strict=True)
    ]
    return torch.cat([content.flatten(1, 2).to(v.dtype), torch.cat(halves, 2).flatten(1, 2).to(v.dtype)], dim=1)


def compute_window_visibility(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """Return whether the key at each offset of each query lies on the map: bool [window ** 2, height, width]."""
    reach = window // 2
    offsets = torch.arange(-reach, reach + 1, device=device)
    inside = []
    for side in (height, width):
        keys = offsets[:, None] + torch.arange(side, device=device)
        inside.append((keys >= 0) & (keys < side))  # [window, side]
    return (inside[0][:, None, :, None] & inside[1][None, :, None, :]).flatten(0, 1)


def _shift(x: Tensor, window: int) -> Iterator[Tensor]:
    """Yield what lies at each offset from every position of [..., height, width], 0 outside: views, in raster order."""
    height, width = x.shape[-2:]
    padded = F.pad(x, [window // 2] * 4)
    for row in range(window):
        for column in range(window):
            yield padded[..., row : row + height, column : column + width]


def _multiply_positions(x: Tensor, table: Tensor) -> Tensor:
    """Return the products [batch, head, offset, height, width] of [batch, head, dim, height, width] with all positions."""
    rows, columns = (
        torch.einsum("bhdyx,md->bhmyx", half, part.to(half.dtype))
        for half, part in zip(x.chunk(2, dim=2), table, strict=True)
    )
    return (rows.unsqueeze(3) + columns.unsqueeze(2)).flatten(2, 3)
