"""ResNet-50 with every 3x3 convolution replaced by attention in a 7x7 window: stand-alone self-attention, SASA.

Source: Stand-Alone Self-Attention (arXiv 1906.05909), section 3.2; its position-sensitive form is the baseline of
Axial-DeepLab's tables 1 and 6. The counts of those tables fit queries, keys and values of as many channels as the convolution
had, and a stride that pools after the attention.
"""

from typing import Literal

from torch import Tensor, nn

from axial_deeplab.layers.convolution import ConvNormAct, ConvNormAdd
from axial_deeplab.layers.local_attention import LocalAttention
from axial_deeplab.models.encoder import Encoder, Shortcut
from axial_deeplab.models.resnet import build_stem

NUM_HEADS, WINDOW = 8, 7


class LocalAttentionBlock(nn.Module):
    """Residual bottleneck: 1x1 down, attention in a window, 2x2 average where it strides, ReLU, 1x1 up.

    Args:
        in_channels: Channels of the input, [batch, channel, height, width], already activated.
        channels: Channels between the 1x1 convolutions; queries, keys and values have as many.
        out_channels: Channels of the output.
        stride: Step of both axes.
        position_sensitive: Relative positions in query, key and value; otherwise in the query alone.
    """

    def __init__(
        self, in_channels: int, channels: int, out_channels: int, *, stride: int = 1, position_sensitive: bool
    ) -> None:
        super().__init__()
        self.down = ConvNormAct(in_channels, channels)
        head_dim = channels // NUM_HEADS
        self.attention = LocalAttention(
            channels,
            key_dim=head_dim,
            value_dim=head_dim,
            num_heads=NUM_HEADS,
            window=WINDOW,
            key_rpe=position_sensitive,
            value_rpe=position_sensitive,
        )
        # Rounding the size up keeps odd maps in step with the shortcut; on even maps it changes nothing.
        self.pool = nn.AvgPool2d(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.up = ConvNormAdd(channels, out_channels)
        self.shortcut = Shortcut(in_channels, out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.pool(self.attention(self.down(x))).relu()
        return self.up(branch, residual=self.shortcut(x), relu=True)


def build_local_resnet(
    *, position_sensitive: bool, output_stride: int = 32, stem: Literal["conv", "inception"] = "conv"
) -> Encoder:
    """Build a ResNet-50 encoder with attention in windows; a stage that does not stride keeps the window as it is."""
    layers, in_channels = build_stem(stem, max_pool=True)
    stages, strides, channels = [], [], []
    stride = 4
    for index, num_blocks in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**index
        step = 2 if stride < min(4 * 2**index, output_stride) else 1
        first = LocalAttentionBlock(in_channels, inner, 4 * inner, stride=step, position_sensitive=position_sensitive)
        rest = [
            LocalAttentionBlock(4 * inner, inner, 4 * inner, position_sensitive=position_sensitive)
            for _ in range(num_blocks - 1)
        ]
        stages.append(nn.Sequential(first, *rest))
        in_channels, stride = 4 * inner, stride * step
        strides.append(stride)
        channels.append(in_channels)
    return Encoder(layers, stages, strides=strides, channels=channels)
