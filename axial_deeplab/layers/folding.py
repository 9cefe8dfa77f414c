"""Fold batch norms into the layers before them: the same function at inference, in fewer passes over memory."""

import torch
from torch import Tensor, nn

from axial_deeplab.layers.axial_attention import AxialAttention
from axial_deeplab.layers.convolution import ConvNorm
from axial_deeplab.layers.normalization import BatchNorm, SimilarityNorm, finish_norm
from axial_deeplab.ops.batch_norm import add_residual, can_fuse
from axial_deeplab.ops.normalize_batch import normalize_batch


@torch.no_grad()
def fold_norms(module: nn.Module, *, dtype: torch.dtype | None = None) -> None:
    """Fold every norm inside `module` into what precedes it, in place. For inference: what is left cannot be trained.

    Args:
        module: In evaluation mode; its norms have seen data.
        dtype: What to turn the weights of convolutions and projections into, so that autocast need not do so in every call;
            `None` keeps them. Scales and shifts stay in float32.

    Raises:
        ValueError: If `module` is in training mode.
    """
    if module.training:
        raise ValueError("norms can be folded in evaluation mode only: call eval() first")
    for part in list(module.modules()):
        if isinstance(part, ConvNorm) and isinstance(part.norm, BatchNorm):
            scale, shift = _compute_affine(part.norm)
            part.conv.weight.mul_(scale.view(-1, 1, 1, 1))
            part.conv.bias = nn.Parameter(shift)
            part.norm = Folded()  # type: ignore[assignment]
            part.conv.to(dtype=dtype)
            if part.conv.kernel_size == part.conv.stride == (1, 1) and part.conv.groups == 1:
                part.conv = Pointwise(part.conv)  # type: ignore[assignment]
        elif isinstance(part, AxialAttention) and isinstance(part.qkv_norm, BatchNorm):
            scale, shift = _compute_affine(part.qkv_norm)
            part.qkv.weight.mul_(scale[:, None])
            part.qkv.bias = nn.Parameter(shift)
            part.qkv_norm = Folded()  # type: ignore[assignment]
            part.qkv.to(dtype=dtype)
            part.similarity_norm = FixedScales(part.similarity_norm)  # type: ignore[assignment]
            part.retrieved_norm = Affine(part.retrieved_norm)  # type: ignore[assignment]


class Pointwise(nn.Module):
    """A 1x1 convolution as a matrix product, which adds the bias on its way out."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(conv.weight.detach().flatten(1))
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.movedim(1, -1), self.weight, self.bias).movedim(-1, 1)


class Folded(nn.Module):
    """What is left of a norm: what follows it."""

    def forward(self, x: Tensor, *, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        if residual is None or residual.dtype != x.dtype or not (can_fuse(x) and can_fuse(residual)):
            return finish_norm(x, residual=residual, relu=relu)
        if torch.is_grad_enabled() and (x.requires_grad or residual.requires_grad):
            return finish_norm(x, residual=residual, relu=relu)
        add_residual(x, residual, relu)
        return x


class FixedScales(nn.Module):
    """The scales of the similarity terms, which no longer change."""

    def __init__(self, norm: SimilarityNorm) -> None:
        super().__init__()
        self.register_buffer("scales", norm.weight * (norm.running_var + norm.eps).rsqrt())
        self.scales: Tensor

    def has_batch_statistics(self, x: Tensor) -> bool:
        return False

    def forward(self, moments: None) -> Tensor:
        return self.scales


class Affine(nn.Module):
    """A norm after an attention layer: scale and shift of every channel, then the sum of content and position, a ReLU."""

    def __init__(self, norm: BatchNorm) -> None:
        super().__init__()
        self.register_buffer(
            "affine", torch.stack(_compute_affine(norm))
        )  # [2, channel], which a kernel may apply itself
        self.register_buffer("zero", torch.zeros_like(norm.weight.detach()))
        self.register_buffer("one", torch.ones_like(norm.weight.detach()))
        self.affine: Tensor
        self.zero: Tensor
        self.one: Tensor

    def forward(self, x: Tensor, *, add_halves: bool = False, relu: bool = False) -> Tensor:
        """Map [row, channel] to as many channels, or half of them."""
        scale, shift = self.affine
        if can_fuse(x):
            return normalize_batch(x, scale, shift, self.zero, self.one, None, relu, add_halves)
        if not add_halves:
            out = torch.addcmul(shift, x, scale)
        else:
            (first, second), scales, shifts = x.chunk(2, dim=1), scale.chunk(2), shift.chunk(2)
            out = torch.addcmul(torch.addcmul(shifts[0] + shifts[1], first, scales[0]), second, scales[1])
        return finish_norm(out.to(x.dtype), relu=relu)


def _compute_affine(norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Return scale and shift of every channel."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale.detach(), (norm.bias - norm.running_mean * scale).detach()
