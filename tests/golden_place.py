"""Where a golden test runs: on the CPU along the plain path, or on a GPU through the fused kernels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from axial_deeplab.layers.axial_attention import AxialAttention

T = TypeVar("T", Tensor, nn.Module)


class Place:
    """Put modules and tensors on one device, and know whether attention there ran in the Triton kernels.

    On a GPU everything is float32 with TF32 off: products keep all bits, sums only come in another order. That is the kind of
    difference that the pass marks (a multiple of the reference's own rounding) were made for, so they are the same there.
    """

    def __init__(self, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.device = device
        self.launches = {"launch_forward": 0, "launch_backward": 0, "launch_statistics": 0}
        self.num_layers = 0
        if device == "cuda":
            from axial_deeplab.ops import run_kernels

            for name in self.launches:
                monkeypatch.setattr(run_kernels, name, self._count(name, getattr(run_kernels, name)))

    def __call__(self, x: T) -> T:
        """Move a tensor or a module; on a GPU attention is told to use the Triton kernels, if these have heads so wide."""
        if isinstance(x, nn.Module) and self.device == "cuda":
            from axial_deeplab.ops.fused import explain_why_not

            for layer in x.modules():
                if isinstance(layer, AxialAttention):
                    dims = (layer.key_dim, layer.value_dim)
                    if explain_why_not(torch.device("cuda"), torch.float32, *dims) is None:
                        layer.backend = "triton"
                        self.num_layers += 1
        return x.to(self.device)

    def assert_fused(self, *, backward: bool = False, statistics: bool = False) -> None:
        """Assert that the kernels were what ran in every layer that came here, if this is a GPU."""
        if self.device == "cuda" and self.num_layers:
            assert self.launches["launch_forward"] >= self.num_layers
            assert not backward or self.launches["launch_backward"] >= self.num_layers
            assert not statistics or self.launches["launch_statistics"]

    def _count(self, name: str, launch: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **options: Any) -> Any:
            result = launch(*args, **options)  # a launch that fails is no launch: plain operations would take over
            self.launches[name] += 1
            return result

        return count


@contextmanager
def forbid_tf32() -> Iterator[None]:
    """Multiply float32 on a GPU with all its bits."""
    settings = (torch.backends.cuda.matmul, torch.backends.cudnn)
    allowed = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = False
        yield
    finally:
        for setting, value in zip(settings, allowed, strict=True):
            setting.allow_tf32 = value
