"""Panoptic-DeepLab's decoder: context on the deepest map, then two steps up with the encoder's finer maps.

Source: deeplab2, model/decoder/panoptic_deeplab.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axial_deeplab.layers.convolution import ConvNormAct, SeparableConv


@dataclass(frozen=True)
class DecoderConfig:
    """Channels of one decoder.

    Attributes:
        context_channels: Channels that the context module returns.
        low_level_channels: Channels that the stride-8 and the stride-4 feature are projected to.
        channels: Channels after each fusion.
        kernel_size: Side of the separable convolutions.
    """

    context_channels: int = 256
    low_level_channels: tuple[int, int] = (64, 32)
    channels: int = 256
    kernel_size: int = 5


SEMANTIC_DECODER = DecoderConfig()
INSTANCE_DECODER = DecoderConfig(low_level_channels=(32, 16), channels=128)


class Decoder(nn.Module):
    """Fuse encoder features from the deepest to stride 4.

    Args:
        encoder_channels: Channels of the encoder's features by output stride; needs 4, 8 and a deeper one.
        context: Module on the deepest feature; returns `config.context_channels`.
        config: Channels of this decoder.
    """

    def __init__(self, encoder_channels: dict[int, int], context: nn.Module, config: DecoderConfig) -> None:
        super().__init__()
        first, second = config.low_level_channels
        self.context = context
        self.project8 = ConvNormAct(encoder_channels[8], first)
        self.fuse8 = SeparableConv(config.context_channels + first, config.channels, config.kernel_size)
        self.project4 = ConvNormAct(encoder_channels[4], second)
        self.fuse4 = SeparableConv(config.channels + second, config.channels, config.kernel_size)

    def forward(self, features: dict[int, Tensor]) -> Tensor:
        """Map {stride: [batch, channel, height, width]} to [batch, config.channels, height / 4, width / 4]."""
        x = self.context(features[max(features)])
        x = self.fuse8(_join(x, self.project8(features[8])))
        return self.fuse4(_join(x, self.project4(features[4])))


def _join(coarse: Tensor, fine: Tensor) -> Tensor:
    resized = F.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=True)
    return torch.cat([resized, fine], dim=1)
