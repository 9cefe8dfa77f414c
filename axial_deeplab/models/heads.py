"""Prediction heads: one separable convolution, one 1x1 convolution."""

from torch import Tensor, nn

from axial_deeplab.layers.convolution import SeparableConv


class Head(nn.Module):
    """Map decoder features [batch, in_channels, height, width] to [batch, out_channels, height, width]."""

    def __init__(self, in_channels: int, channels: int, out_channels: int, *, kernel_size: int = 5) -> None:
        super().__init__()
        self.conv = SeparableConv(in_channels, channels, kernel_size)
        self.predict = nn.Conv2d(channels, out_channels, 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.conv(x))
