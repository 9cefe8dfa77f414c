"""Convolutions as the models use them: no bias before a norm, symmetric padding, any size."""

from torch import Tensor, nn

from axial_deeplab.layers.normalization import BatchNorm


class ConvNorm(nn.Module):
    """Convolve [batch, in_channels, height, width], then normalise; padded so that stride 1 keeps the size."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel_size - 1) // 2
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=False
        )
        self.norm = BatchNorm(out_channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor, *, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """Convolve and normalise; then add a residual and apply a ReLU, as is asked for."""
        return self.norm(self.conv(x), residual=residual, relu=relu)


class ConvNormAct(ConvNorm):
    """The same, always followed by a ReLU."""

    def forward(self, x: Tensor, *, residual: Tensor | None = None, relu: bool = True) -> Tensor:
        return super().forward(x, residual=residual, relu=relu)


class SeparableConv(nn.Module):
    """Depthwise then pointwise convolution, each with norm and ReLU (Panoptic-DeepLab's decoder convolution)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(in_channels, in_channels, kernel_size, groups=in_channels)
        self.pointwise = ConvNormAct(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))
