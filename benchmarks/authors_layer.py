"""A stand-in for the attention layer of the authors' PyTorch code, to time ours against what people run today.

Written anew from the layer's published shapes and names, so that its weights and figures compare: an axis of fixed length, one
table of relative positions gathered by an index into a vector for every pair, three maps of logits side by side under one batch
norm, and the axis brought to the front and back by copies.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from axial_deeplab.checkpoints.official_pytorch import convert_weights


class AuthorsAxialAttention(nn.Module):
    """Attend along the height or the width of [batch, channel, height, width], whose length there is `side`.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output; values have as many, queries and keys half of it.
        side: Length of the axis.
        num_heads: Number of heads.
        along_width: Attend along the width instead of the height.

    Source: names and shapes of the authors' PyTorch code (csrhddlam/axial-deeplab); Axial-DeepLab (arXiv 2003.07853).
    """

    def __init__(
        self, in_channels: int, out_channels: int, side: int, *, num_heads: int = 8, along_width: bool = False
    ) -> None:
        super().__init__()
        self.num_heads, self.side, self.along_width = num_heads, side, along_width
        self.value_dim = out_channels // num_heads
        self.qkv_transform = nn.Conv1d(in_channels, 2 * out_channels, 1, bias=False)
        self.bn_qkv = nn.BatchNorm1d(2 * out_channels)
        self.bn_similarity = nn.BatchNorm2d(3 * num_heads)
        self.bn_output = nn.BatchNorm1d(2 * out_channels)
        self.relative = nn.Parameter(torch.randn(2 * self.value_dim, 2 * side - 1) * self.value_dim**-0.5)
        nn.init.normal_(self.qkv_transform.weight, std=in_channels**-0.5)
        position = torch.arange(side)
        index = position[:, None] - position[None, :] + side - 1
        self.register_buffer("flatten_index", index.flatten())
        self.flatten_index: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, in_channels, height, width] to [batch, out_channels, height, width]."""
        lines = x.permute(0, 2, 1, 3) if self.along_width else x.permute(0, 3, 1, 2)
        batch, num_lines, channels, side = lines.shape
        lines = lines.contiguous().view(batch * num_lines, channels, side)
        retrieved = self._attend(self.bn_qkv(self.qkv_transform(lines)))
        normed = self.bn_output(retrieved).view(batch, num_lines, -1, 2, side).sum(3)
        return (normed.permute(0, 2, 1, 3) if self.along_width else normed.permute(0, 2, 3, 1)).contiguous()

    def _attend(self, qkv: Tensor) -> Tensor:
        """Map [line, 2 * out_channels, side] to what is retrieved, content and position of a channel side by side."""
        half = self.value_dim // 2
        dims = [half, half, self.value_dim]
        q, k, v = qkv.view(len(qkv), self.num_heads, -1, self.side).split(dims, dim=2)
        pairs = self.relative.index_select(1, self.flatten_index).view(-1, self.side, self.side)
        query_rows, key_rows, value_rows = pairs.split(dims)  # [dim, position, other position]
        content = torch.einsum("nhco,nhcp->nhop", q, k)
        query = torch.einsum("nhco,cop->nhop", q, query_rows)
        key = torch.einsum("nhcp,cpo->nhpo", k, key_rows).transpose(2, 3)
        logits = self.bn_similarity(torch.cat([content, query, key], dim=1))
        weights = logits.view(len(qkv), 3, self.num_heads, self.side, self.side).sum(1).softmax(3)
        retrieved = torch.einsum("nhop,nhcp->nhco", weights, v)
        positions = torch.einsum("nhop,cop->nhco", weights, value_rows)
        return torch.cat([retrieved, positions], dim=3).view(len(qkv), -1, self.side)


def convert_to_ours(values: Mapping[str, Tensor], num_heads: int) -> dict[str, Tensor]:
    """Rename and rearrange weights, gradients or statistics of the stand-in to those of `AxialAttention`."""
    theirs, ours = "layer1.0.hight_block.", "encoder.stages.0.0.height_attention."  # as inside whole networks
    kept = {theirs + name: value for name, value in values.items() if not name.endswith(("_index", "_tracked"))}
    return {name.removeprefix(ours): value for name, value in convert_weights(kept, num_heads).items()}
