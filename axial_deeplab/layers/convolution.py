"""Convolutions as the models use them: no bias before a norm, symmetric padding, any size."""

import torch
from torch import Tensor, nn

from axial_deeplab.layers.normalization import BatchNorm, finish_norm


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


class ConvNormAdd(ConvNorm):
    """End a residual branch: convolve, normalise from a scale of zero, drop the branch now and then, add the shortcut.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output and of the shortcut.
        kernel_size: Side of the convolution.
        dilation: Of the convolution.
        keep_probability: Chance of a sample to keep its branch in training; 1 keeps all, and nothing is drawn.

    Source: stochastic depth (arXiv 1603.09382); deeplab2, model/layers/drop_path.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        dilation: int = 1,
        keep_probability: float = 1.0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, dilation=dilation)
        self.keep_probability = keep_probability
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor, *, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        if not self.training or self.keep_probability == 1.0:
            return super().forward(x, residual=residual, relu=relu)
        branch = drop_path(super().forward(x), self.keep_probability)
        return finish_norm(branch, residual=residual, relu=relu)


def drop_path(branch: Tensor, keep_probability: float) -> Tensor:
    """Set whole samples of [batch, ...] to zero, and divide those that stay by the probability of staying."""
    shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
    kept = torch.rand(shape, device=branch.device) < keep_probability
    return branch * kept / keep_probability  # in bfloat16 a mask that holds the quotient would round it


class SeparableConv(nn.Module):
    """Depthwise then pointwise convolution, each with norm and ReLU (Panoptic-DeepLab's decoder convolution)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(in_channels, in_channels, kernel_size, groups=in_channels)
        self.pointwise = ConvNormAct(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))
