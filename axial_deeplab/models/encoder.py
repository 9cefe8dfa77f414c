"""The trunk that every network here shares: a stem, then stages of residual blocks."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from axial_deeplab.layers.convolution import ConvNorm, ConvNormAct, ConvNormAdd
from axial_deeplab.layers.normalization import BatchNorm, SimilarityNorm


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
        self.recomputed: frozenset[int] = frozenset()  # stages whose activations are not kept in training

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        """Map [batch, 3, height, width] to {output stride: [batch, channel, height / stride, width / stride]}."""
        x = self.stem(x)
        features = {}
        for number, (stride, stage) in enumerate(zip(self.strides, self.stages, strict=True), 1):
            x = features[stride] = run_again(stage, x) if self.training and number in self.recomputed else stage(x)
        return features


def run_again(stage: nn.Module, x: Tensor) -> Tensor:
    """Run a stage and keep its input alone; the backward pass computes the rest again, and running statistics move once."""
    if not torch.is_grad_enabled():
        return stage(x)
    return checkpoint(stage, x, use_reentrant=False, context_fn=partial(_make_contexts, stage))


def _make_contexts(stage: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _hold_statistics(stage)


@contextmanager
def _hold_statistics(stage: nn.Module) -> Iterator[None]:
    """Keep the running statistics where they are."""
    norms = [module for module in stage.modules() if isinstance(module, BatchNorm | SimilarityNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def configure_encoder(encoder: Encoder, *, drop_path: float = 0.0, recompute: Sequence[int] = ()) -> None:
    """Set what an encoder does in training alone.

    Args:
        encoder: Is changed.
        drop_path: Probability of leaving out the branch of a block of the last stage; it grows linearly over the stages. 0
            leaves the network's own.
        recompute: Numbers of the stages, from 1, whose activations are not kept.

    Source: deeplab2's linear schedule of drop path over output strides 4, 8, 16 and 32.
    """
    encoder.recomputed = frozenset(recompute)
    if not drop_path:  # a network may have a plan of its own
        return
    for number, stage in enumerate(encoder.stages, 1):
        for module in stage.modules():
            if isinstance(module, ConvNormAdd):
                module.keep_probability = 1.0 - drop_path * number / len(encoder.stages)


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
