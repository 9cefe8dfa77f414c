"""Axial-DeepLab and Panoptic-DeepLab: an encoder, a semantic and an instance decoder, three heads.

Source: Axial-DeepLab (arXiv 2003.07853), section 3.3; deeplab2, model/decoder/panoptic_deeplab.
"""

from collections.abc import Callable

from torch import Tensor, nn

from axial_deeplab.layers.convolution import ConvNormAct
from axial_deeplab.models.decoder import INSTANCE_DECODER, SEMANTIC_DECODER, Decoder, DecoderConfig
from axial_deeplab.models.encoder import Encoder
from axial_deeplab.models.heads import Head
from axial_deeplab.records import PanopticOutput

BuildContext = Callable[[int, int], nn.Module]
"""From input and output channels to the module on the deepest feature map."""


class PanopticDeepLab(nn.Module):
    """Segment an image into classes, object centers, and offsets from each pixel to its object's center.

    Args:
        encoder: Gives features at strides 4, 8 and a deeper one.
        num_classes: Channels of the semantic head.
        build_context: Makes each decoder's context module: a 1x1 projection for Axial-DeepLab, ASPP for the baseline.
        semantic: Channels of the semantic decoder.
        instance: Channels of the instance decoder.
        head_channels: Channels inside the semantic, center and offset head.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        build_context: BuildContext = ConvNormAct,
        *,
        semantic: DecoderConfig = SEMANTIC_DECODER,
        instance: DecoderConfig = INSTANCE_DECODER,
        head_channels: tuple[int, int, int] = (256, 32, 32),
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.encoder = encoder
        deepest = encoder.channels[max(encoder.channels)]
        self.semantic_decoder, self.instance_decoder = (
            Decoder(encoder.channels, build_context(deepest, config.context_channels), config)
            for config in (semantic, instance)
        )
        self.semantic_head = Head(semantic.channels, head_channels[0], num_classes, kernel_size=semantic.kernel_size)
        self.center_head = Head(instance.channels, head_channels[1], 1, kernel_size=instance.kernel_size)
        self.offset_head = Head(instance.channels, head_channels[2], 2, kernel_size=instance.kernel_size)

    def forward(self, images: Tensor) -> PanopticOutput:
        """Map normalised images [batch, 3, height, width] of any size to an output of the same size."""
        return self.compute_heads(images).resize(images.shape[2], images.shape[3])

    def compute_heads(self, images: Tensor) -> PanopticOutput:
        """Return the heads at stride 4; offsets count in positions of that grid."""
        features = self.encoder(images)
        semantic = self.semantic_decoder(features)
        instance = self.instance_decoder(features)
        return PanopticOutput(self.semantic_head(semantic), self.center_head(instance), self.offset_head(instance))
