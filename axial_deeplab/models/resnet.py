"""ResNet-50 and 101, the convolutional baselines, with dilation where striding stops.

Source: deeplab2, model/encoder/axial_resnet (the stride sits in the 3x3 convolution); torchvision's layout for classification.
"""

from typing import Literal

from torch import Tensor, nn

from axial_deeplab.layers.convolution import ConvNormAct, ConvNormAdd
from axial_deeplab.models.encoder import Encoder, Shortcut, build_conv_stem, build_inception_stem


class BottleneckBlock(nn.Module):
    """Residual bottleneck: 1x1 down, 3x3, 1x1 up; input [batch, channel, height, width] already activated.

    Args:
        in_channels: Channels of the input.
        channels: Channels between the first two convolutions.
        out_channels: Channels of the output.
        stride: Step of the 3x3 convolution.
        dilation: Of the 3x3 convolution.
        middle_channels: Channels between the last two convolutions; `None` takes `channels`.
        keep_probability: Chance of a sample to keep this branch in training.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        middle_channels: int | None = None,
        keep_probability: float = 1.0,
    ) -> None:
        super().__init__()
        middle = channels if middle_channels is None else middle_channels
        self.down = ConvNormAct(in_channels, channels)
        self.conv = ConvNormAct(channels, middle, 3, stride=stride, dilation=dilation)
        self.up = ConvNormAdd(middle, out_channels, keep_probability=keep_probability)
        self.shortcut = Shortcut(in_channels, out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self._add_branch(x, relu=True)

    def compute_sum(self, x: Tensor) -> Tensor:
        """Return shortcut plus branch before the last activation."""
        return self._add_branch(x, relu=False)

    def _add_branch(self, x: Tensor, *, relu: bool) -> Tensor:
        return self.up(self.conv(self.down(x)), residual=self.shortcut(x), relu=relu)


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions, the first with the stride; input already activated.

    Args:
        in_channels: Channels of the input, [batch, channel, height, width].
        channels: Channels between the convolutions.
        out_channels: Channels of the output.
        stride: Step of the first convolution.
        dilations: Of the two convolutions.
        keep_probability: Chance of a sample to keep this branch in training.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
        keep_probability: float = 1.0,
    ) -> None:
        super().__init__()
        self.conv = ConvNormAct(in_channels, channels, 3, stride=stride, dilation=dilations[0])
        self.up = ConvNormAdd(channels, out_channels, 3, dilation=dilations[1], keep_probability=keep_probability)
        self.shortcut = Shortcut(in_channels, out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self._add_branch(x, relu=True)

    def compute_sum(self, x: Tensor) -> Tensor:
        """Return shortcut plus branch before the last activation."""
        return self._add_branch(x, relu=False)

    def _add_branch(self, x: Tensor, *, relu: bool) -> Tensor:
        return self.up(self.conv(x), residual=self.shortcut(x), relu=relu)


def build_resnet(
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
    *,
    output_stride: int = 32,
    max_pool: bool = True,
    stem: Literal["conv", "inception"] = "conv",
) -> Encoder:
    """Build a bottleneck ResNet encoder.

    Args:
        blocks: Residual blocks of the four stages.
        output_stride: Stride of the last stage: 8, 16 or 32; later blocks are dilated instead.
        max_pool: Reach stride 4 by a max-pool in the stem (classification), or by the first block (deeplab2).
        stem: "conv" is the 7x7 convolution, "inception" three 3x3 convolutions.
    """
    layers, in_channels = build_stem(stem, max_pool=max_pool)
    stages, strides, channels = [], [], []
    stride = 4 if max_pool else 2
    for index, num_blocks in enumerate(blocks):
        inner, wanted = 64 * 2**index, 4 * 2**index
        step = 2 if stride < min(wanted, output_stride) else 1
        # A block is dilated by the stride that its input would have had in the undilated network.
        before, after = max(1, wanted // 2 // output_stride), max(1, wanted // output_stride)
        first = BottleneckBlock(in_channels, inner, 4 * inner, stride=step, dilation=before)
        rest = [BottleneckBlock(4 * inner, inner, 4 * inner, dilation=after) for _ in range(num_blocks - 1)]
        stages.append(nn.Sequential(first, *rest))
        in_channels, stride = 4 * inner, stride * step
        strides.append(stride)
        channels.append(in_channels)
    return Encoder(layers, stages, strides=strides, channels=channels)


def build_stem(stem: Literal["conv", "inception"], *, max_pool: bool) -> tuple[nn.Module, int]:
    """Return a stem and its output channels."""
    if stem == "conv":
        return build_conv_stem(64, max_pool=max_pool), 64
    return build_inception_stem((64, 64, 128), max_pool=max_pool), 128
