"""The trunk that every network here shares: a stem, then stages of residual blocks."""

from collections.abc import Sequence

from torch import Tensor, nn

from axial_deeplab.layers.convolution import ConvNorm, ConvNormAct


class Shortcut(nn.Module):
    """Bring the input of a residual block to the shape of its output: as it is, sliced, or through a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.projection = ConvNorm(in_channels, out_channels, stride=stride) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            return self.projection(x)
        return x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x


class Encoder(nn.Module):
    """Run a stem and stages, and return the last feature map of each output stride.

    Args:
        stem: Maps [batch, 3, height, width] to the input of the first stage.
        stages: One `nn.Sequential` of blocks each.
        strides: Output stride of each stage.
        channels: Output channels of each stage.
    """

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], *, strides: Sequence[int], channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.strides = tuple(strides)
        self.channels = dict(zip(strides, channels, strict=True))

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Map [batch, 3, height, width] to {output stride: [batch, channel, height / stride, width / stride]}."""
        x = self.stem(x)
        features = {}
        for stride, stage in zip(self.strides, self.stages, strict=True):
            x = features[stride] = stage(x)
        return features


def build_inception_stem(channels: tuple[int, int, int], *, max_pool: bool) -> nn.Sequential:
    """Build three 3x3 convolutions, the first with stride 2, and an optional 3x3 max-pool with stride 2."""
    first, second, third = channels
    layers: list[nn.Module] = [
        ConvNormAct(3, first, 3, stride=2),
        ConvNormAct(first, second, 3),
        ConvNormAct(second, third, 3),
    ]
    return nn.Sequential(*layers, nn.MaxPool2d(3, 2, 1)) if max_pool else nn.Sequential(*layers)


def build_conv_stem(channels: int, *, max_pool: bool, kernel_size: int = 7) -> nn.Sequential:
    """Build ResNet's 7x7 convolution with stride 2 and an optional 3x3 max-pool with stride 2."""
    stem = ConvNormAct(3, channels, kernel_size, stride=2)
    return nn.Sequential(stem, nn.MaxPool2d(3, 2, 1)) if max_pool else nn.Sequential(stem)
