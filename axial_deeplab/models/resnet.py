"""ResNet-50 and 101, the convolutional baselines, with dilation where striding stops.

Source: deeplab2, model/encoder/axial_resnet (the stride sits in the 3x3 convolution); torchvision's layout for classification.
"""

from typing import Literal

from torch import Tensor, nn

from axial_deeplab.layers.convolution import ConvNorm, ConvNormAct
from axial_deeplab.models.encoder import Encoder, Shortcut, add_branch, build_conv_stem, build_inception_stem


class BottleneckBlock(nn.Module):
    """Residual bottleneck: 1x1 down, 3x3, 1x1 up; input [batch, channel, height, width] already activated."""

    def __init__(
        self, in_channels: int, channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.down = ConvNormAct(in_channels, channels)
        self.conv = ConvNormAct(channels, channels, 3, stride=stride, dilation=dilation)
        self.up = ConvNorm(channels, out_channels)
        self.shortcut = Shortcut(in_channels, out_channels, stride=stride)
        self.drop_path = 0.0
        nn.init.zeros_(self.up.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self._add_branch(x, relu=True)

    def compute_sum(self, x: Tensor) -> Tensor:
        """Return shortcut plus branch before the last activation."""
        return self._add_branch(x, relu=False)

    def _add_branch(self, x: Tensor, *, relu: bool) -> Tensor:
        return add_branch(self, self.conv(self.down(x)), x, relu=relu)


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
