"""Context modules on the deepest feature map: atrous spatial pyramid pooling, or one projection in its place."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axial_deeplab.layers.convolution import ConvNormAct


class ASPP(nn.Module):
    """See the map through a 1x1, three dilated 3x3 convolutions and an average, then project their concatenation.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of each branch and of the output.
        rates: Dilations of the three 3x3 convolutions (6, 12, 18 at output stride 16).
        pool: Height and width of the averaging window in positions, moved by 1 and resized back; `None` averages the whole
            map, which suits any input size. A window larger than the map averages the whole map.

    Source: deeplab2, model/layers/aspp and model/decoder/aspp; dropout 0.1 in training.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        *,
        pool: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.project_pixel = ConvNormAct(in_channels, out_channels)
        self.atrous = nn.ModuleList(ConvNormAct(in_channels, out_channels, 3, dilation=rate) for rate in rates)
        self.project_average = ConvNormAct(in_channels, out_channels)
        self.project = ConvNormAct(out_channels * (2 + len(rates)), out_channels)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [self.project_pixel(x), *(conv(x) for conv in self.atrous), self._average(x)]
        return self.dropout(self.project(torch.cat(branches, dim=1)))

    def _average(self, x: Tensor) -> Tensor:
        if self.pool is None:
            pooled = x.mean((2, 3), keepdim=True)
        else:
            window = (min(self.pool[0], x.shape[2]), min(self.pool[1], x.shape[3]))
            pooled = F.avg_pool2d(x, window, stride=1)
        pooled = self.project_average(pooled)
        return F.interpolate(pooled, x.shape[2:], mode="bilinear", align_corners=True)
