"""Axial-ResNet: ResNet-50's plan with every 3x3 convolution replaced by attention along height, then along width.

Source: Axial-DeepLab (arXiv 2003.07853), section 3.2 and figure 2.
"""

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from axial_deeplab.layers.axial_attention import AxialAttention
from axial_deeplab.layers.convolution import ConvNormAct, ConvNormAdd
from axial_deeplab.models.encoder import Encoder, Shortcut, build_conv_stem, build_inception_stem


@dataclass(frozen=True)
class AttentionConfig:
    """How the attention layers of a network look.

    Attributes:
        span: Keys that a query sees, odd; `None` for the whole axis.
        max_distance: Largest distance with a position vector of its own; tables have `2 * max_distance + 1` rows.
        num_heads: Heads of every layer.
        striding: "per_axis" drops every second position of an axis after its layer (the paper, deeplab2); "average_pool"
            averages 2x2 after both layers (the authors' PyTorch code).
    """

    span: int | None = None
    max_distance: int = 254
    num_heads: int = 8
    striding: Literal["per_axis", "average_pool"] = "per_axis"


@dataclass(frozen=True)
class AxialResNetConfig:
    """One Axial-ResNet.

    Attributes:
        width: Factor on all channels: 0.5 is S, 0.75 M, 1 L, 2 XL.
        blocks: Residual blocks of the four stages.
        stem: "conv" is the 7x7 convolution, "inception" three 3x3 convolutions, "axial" three axial blocks.
        stem_width: Factor on the channels of a convolutional stem; `None` follows `width`.
        max_pool: Reach stride 4 by a max-pool in the stem; otherwise by the first block of the first stage.
        output_stride: Stride of the last stage, 32 or 16.
        attention: Layout of the attention layers.
        tight_tables: Sides of the four stages' input maps for tables that just fit them (the authors' code at 224 pixels);
            `None` takes `attention.max_distance` everywhere.
    """

    width: float = 1.0
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    stem: Literal["conv", "inception", "axial"] = "conv"
    stem_width: float | None = None
    max_pool: bool = True
    output_stride: int = 32
    attention: AttentionConfig = AttentionConfig()
    tight_tables: tuple[int, int, int, int] | None = None


class Subsample(nn.Module):
    """Keep every `stride`-th position along one spatial dimension (-2 or -1), beginning with the first."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.dim, self.stride = dim, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x
        return x[..., :: self.stride, :] if self.dim == -2 else x[..., :: self.stride]


class AxialBlock(nn.Module):
    """Residual bottleneck: 1x1 down, height attention, width attention, ReLU, 1x1 up.

    Args:
        in_channels: Channels of the input, [batch, channel, height, width], already activated.
        channels: Channels between the 1x1 convolutions; values have as many, queries and keys half of it.
        out_channels: Channels of the output.
        stride: Step of both axes.
        attention: Layout of the attention layers.
        keep_probability: Chance of a sample to keep this branch in training.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        attention: AttentionConfig,
        keep_probability: float = 1.0,
    ) -> None:
        super().__init__()
        self.down = ConvNormAct(in_channels, channels)
        self.height_attention = _build_attention(channels, "height", attention)
        self.width_attention = _build_attention(channels, "width", attention)
        per_axis = stride if attention.striding == "per_axis" else 1
        self.after_height, self.after_width = Subsample(-2, per_axis), Subsample(-1, per_axis)
        pools = attention.striding == "average_pool" and stride > 1
        # Rounding the size up keeps odd maps in step with the shortcut; on even maps it changes nothing.
        self.pool = nn.AvgPool2d(stride, stride, ceil_mode=True) if pools else nn.Identity()
        self.up = ConvNormAdd(channels, out_channels, keep_probability=keep_probability)
        self.shortcut = Shortcut(in_channels, out_channels, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self._add_branch(x, relu=True)

    def compute_sum(self, x: Tensor) -> Tensor:
        """Return shortcut plus branch before the last activation."""
        return self._add_branch(x, relu=False)

    def _add_branch(self, x: Tensor, *, relu: bool) -> Tensor:
        branch = self.after_height(self.height_attention(self.down(x)))
        pools = not isinstance(self.pool, nn.Identity)
        branch = self.after_width(self.width_attention(branch, relu=not pools))
        if pools:
            branch = self.pool(branch).relu()
        return self.up(branch, residual=self.shortcut(x), relu=relu)


def _build_attention(channels: int, axis: str, config: AttentionConfig) -> AxialAttention:
    if channels % (2 * config.num_heads):
        raise ValueError(f"{channels} channels cannot be shared by {config.num_heads} heads with half-size keys")
    value_dim = channels // config.num_heads
    return AxialAttention(
        channels,
        axis,
        key_dim=value_dim // 2,
        value_dim=value_dim,
        num_heads=config.num_heads,
        span=config.span,
        max_distance=config.max_distance,
    )


def build_axial_resnet(config: AxialResNetConfig) -> Encoder:
    """Build the encoder of one configuration; features come keyed by output stride."""
    stem, in_channels, stride = _build_stem(config)
    stages, strides, channels = [], [], []
    for index, num_blocks in enumerate(config.blocks):
        step = 2 if stride < min(4 * 2**index, config.output_stride) else 1
        inner = int(128 * config.width) * 2**index
        sides = None if config.tight_tables is None else config.tight_tables[index]
        stages.append(_build_stage(in_channels, inner, num_blocks, step=step, side=sides, attention=config.attention))
        in_channels, stride = 2 * inner, stride * step
        strides.append(stride)
        channels.append(in_channels)
    return Encoder(stem, stages, strides=strides, channels=channels)


def _build_stage(
    in_channels: int, inner: int, num_blocks: int, *, step: int, side: int | None, attention: AttentionConfig
) -> nn.Sequential:
    blocks = []
    for block in range(num_blocks):
        stride = step if block == 0 else 1
        if side is not None:
            attention = replace(attention, max_distance=(side if block == 0 else side // step) - 1)
        blocks.append(
            AxialBlock(in_channels if block == 0 else 2 * inner, inner, 2 * inner, stride=stride, attention=attention)
        )
    return nn.Sequential(*blocks)


def _build_stem(config: AxialResNetConfig) -> tuple[nn.Module, int, int]:
    """Return the stem, its output channels and its output stride."""
    width = config.width if config.stem_width is None else config.stem_width
    stride = 4 if config.max_pool else 2
    if config.stem == "conv":
        return build_conv_stem(int(64 * width), max_pool=config.max_pool), int(64 * width), stride
    if config.stem == "inception":
        channels = (int(64 * width), int(64 * width), int(128 * width))
        return build_inception_stem(channels, max_pool=config.max_pool), channels[2], stride
    inner = int(64 * width)
    blocks = _build_stage(3, inner, 3, step=2, side=None, attention=config.attention)
    return (nn.Sequential(blocks, nn.MaxPool2d(3, 2, 1)) if config.max_pool else blocks), 2 * inner, stride
