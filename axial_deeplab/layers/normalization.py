"""Batch norm that also works inside the softmax of an attention layer, across processes, and frozen.

PyTorch's own `SyncBatchNorm` needs a GPU and cannot normalise statistics that come in closed form, so both norms here reduce
their moments themselves, over gloo as well as nccl.
"""

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
import torch.nn.functional as F
from torch import Tensor, nn

from axial_deeplab.ops.batch_norm import NormState, batch_norm, can_fuse
from axial_deeplab.ops.moments import SimilarityMoments


class _RunningNorm(nn.Module):
    """Parameters, running statistics and modes shared by the two norms.

    Attributes:
        eps: Added to the variance.
        momentum: Share of the new batch in the running statistics.
        correction: 1 keeps the unbiased batch variance in the running statistics (PyTorch), 0 the biased one (deeplab2's
            attention norms). The normalisation itself is always biased.
        frozen: Use the running statistics in training too, and keep them; weight and bias still learn.
        synchronized: Compute training statistics over all processes of the default group.
    """

    def __init__(self, shape: tuple[int, ...], *, eps: float, momentum: float, correction: int) -> None:
        super().__init__()
        self.eps, self.momentum, self.correction = eps, momentum, correction
        self.frozen = self.synchronized = False
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))
        self.running_mean: Tensor
        self.running_var: Tensor

    @property
    def uses_batch_statistics(self) -> bool:
        return self.training and not self.frozen

    @property
    def is_shared(self) -> bool:
        """Whether the statistics are those of several processes."""
        return self.synchronized and _count_processes() > 1

    def has_batch_statistics(self, x: Tensor) -> bool:
        """Whether `x` is normalised by its own statistics; an empty batch has none, unless it shares those of others.

        Raises:
            ValueError: If the batch is empty and the kernels of other processes would wait for its share.
        """
        if self.uses_batch_statistics and self.is_shared and x.numel() == 0 and x.is_cuda:
            raise ValueError("every process needs an image of its own to share the statistics of batch norms on GPUs")
        return self.uses_batch_statistics and (x.numel() > 0 or self.is_shared)

    @torch.no_grad()
    def update_running_statistics(self, mean: Tensor, variance: Tensor, count: Tensor | float) -> None:
        """Move the running statistics towards a batch with `count` values and this biased variance."""
        if self.correction:
            rest = count - self.correction
            variance = variance * (count / (rest.clamp_min(1) if isinstance(rest, Tensor) else max(rest, 1)))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, eps={self.eps}, momentum={self.momentum}, correction={self.correction}"


class BatchNorm(_RunningNorm):
    """Normalise each channel of [batch, channel, ...] over everything else."""

    def __init__(self, num_features: int, *, eps: float = 1e-3, momentum: float = 0.01, correction: int = 1) -> None:
        super().__init__((num_features,), eps=eps, momentum=momentum, correction=correction)

    @property
    def state(self) -> NormState:
        """Parameters and running statistics, for an operator that normalises on its way."""
        numbers = (self.eps, self.momentum, self.correction, self.is_shared)
        return NormState(self.weight, self.bias, self.running_mean, self.running_var, *numbers)

    def forward(
        self, x: Tensor, *, add_halves: bool = False, residual: Tensor | None = None, relu: bool = False
    ) -> Tensor:
        """Normalise; then add the second half of the channels to the first, add a residual, apply a ReLU, as is asked for."""
        if self.has_batch_statistics(x) and can_fuse(x):
            if residual is not None and residual.dtype != x.dtype:  # the sum takes the wider type
                normed = self._normalize_fused(x, add_halves=add_halves, residual=None, relu=False)
                return finish_norm(normed, residual=residual, relu=relu)
            return self._normalize_fused(x, add_halves=add_halves, residual=residual, relu=relu)
        return finish_norm(self._normalize(x), add_halves=add_halves, residual=residual, relu=relu)

    def _normalize_fused(self, x: Tensor, *, add_halves: bool, residual: Tensor | None, relu: bool) -> Tensor:
        rows = _flatten_rows(x)
        out = batch_norm(
            rows,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            eps=self.eps,
            momentum=self.momentum,
            correction=self.correction,
            shared=self.is_shared,
            residual=None if residual is None else _flatten_rows(residual),
            relu=relu,
            add_halves=add_halves,
        )
        return out if x.ndim == 2 else out.view(x.shape[0], *x.shape[2:], -1).permute(0, 3, 1, 2)

    def _normalize(self, x: Tensor) -> Tensor:
        if not self.has_batch_statistics(x):
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        if self.is_shared:
            return self._normalize_across_processes(x)
        # The batch norm keeps what it is given for the backward pass, so the buffers are changed outside of it.
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        out = F.batch_norm(x, mean, variance, self.weight, self.bias, True, self.momentum, self.eps)
        with torch.no_grad():
            if self.correction == 0:  # PyTorch has added momentum x the unbiased variance: take its n-th part off again
                added = variance - (1 - self.momentum) * self.running_var
                variance = variance - added * (x.shape[1] / x.numel())
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance)
        return out

    def _normalize_across_processes(self, x: Tensor) -> Tensor:
        dims = [0, *range(2, x.ndim)]
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = values.new_full((1,), x.numel() // x.shape[1])
        # The mean first, then deviations from it: squares minus a squared mean would cancel where the mean is large.
        total, count = _all_reduce(torch.cat([values.sum(dims), count])).split([x.shape[1], 1])
        mean = total / count
        deviations = values - mean.view([1, -1] + [1] * (x.ndim - 2))
        variance = _all_reduce(deviations.square().sum(dims)) / count
        self.update_running_statistics(mean, variance, count)
        shape = [1, -1] + [1] * (x.ndim - 2)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (values * scale.view(shape) + (self.bias - mean * scale).view(shape)).to(x.dtype)


def finish_norm(x: Tensor, *, add_halves: bool = False, residual: Tensor | None = None, relu: bool = False) -> Tensor:
    """Do what follows a norm; see `BatchNorm.forward`. Writes over `x`."""
    if add_halves:
        first, second = x.chunk(2, dim=1)
        x = first + second
    if residual is not None:
        x = x + residual
    return x.relu_() if relu else x


class SimilarityNorm(_RunningNorm):
    """Turn the moments of the similarity terms into the scales of a batch norm on the logits.

    Mean and shift cancel in the softmax, so `bias` never acts; it is kept, without a gradient, because checkpoints have it.
    """

    def __init__(self, num_terms: int, num_heads: int, *, eps: float = 1e-3, momentum: float = 0.01) -> None:
        super().__init__((num_terms, num_heads), eps=eps, momentum=momentum, correction=0)
        self.bias.requires_grad_(False)

    def forward(self, moments: SimilarityMoments | None) -> Tensor:
        """Return the scales [term, head] by the moments of the batch, or by the running variance for `None`."""
        if moments is None:
            return self.weight * (self.running_var + self.eps).rsqrt()
        if self.is_shared:
            flat = torch.cat([moments.sum.flatten(), moments.sum_of_squares.flatten(), moments.num_pairs[None]])
            total, squares, count = _all_reduce(flat).split([moments.sum.numel(), moments.sum.numel(), 1])
            shape = moments.sum.shape
            moments = SimilarityMoments(total.view(shape), squares.view(shape), count[0])
        mean, variance = moments.compute_mean_and_variance()
        self.update_running_statistics(mean, variance, moments.num_pairs)
        return self.weight * (variance + self.eps).rsqrt().to(self.weight.dtype)


def freeze_norms(module: nn.Module) -> None:
    """Make every norm inside `module` use and keep its running statistics: for batches too small to have their own."""
    for norm in _find_norms(module):
        norm.frozen = True


def synchronize_norms(module: nn.Module) -> None:
    """Make every norm inside `module` share its training statistics over all processes."""
    for norm in _find_norms(module):
        norm.synchronized = True


def configure_norms(module: nn.Module, *, eps: float, momentum: float, correction: int | None = None) -> None:
    """Set the numeric conventions of every norm inside `module`; `correction=None` leaves that one alone."""
    for norm in _find_norms(module):
        norm.eps, norm.momentum = eps, momentum
        if correction is not None:
            norm.correction = correction


def _find_norms(module: nn.Module) -> list[_RunningNorm]:
    return [child for child in module.modules() if isinstance(child, _RunningNorm)]


def _flatten_rows(x: Tensor) -> Tensor:
    """View [row, channel], or [batch, channel, height, width], as [row, channel]."""
    return x if x.ndim == 2 else x.permute(0, 2, 3, 1).flatten(0, 2)


def _count_processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _all_reduce(values: Tensor) -> Tensor:
    result: Tensor = dist_nn.all_reduce(values)
    return result
