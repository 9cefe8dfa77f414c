"""Parameters and multiply-adds, counted from shapes on the meta device: no memory, no time.

Convention: an axial layer on `n` positions with `L` = axis length and span `m` costs
`n * (C_in * (2K + V) + min(L, m) * (3K + 2V))` with `K` and `V` the key and value channels of all heads; in a window of
`w x w` keys `w * w` takes the place of `min(L, m)`, and a position term that is switched off costs nothing. Then come
convolutions and linear layers. Borders are not subtracted; norms, activations, pooling and resizing are left out.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from axial_deeplab.layers.axial_attention import AXES, AxialAttention
from axial_deeplab.layers.local_attention import LocalAttention


def count_parameters(model: nn.Module) -> int:
    """Return the number of learned values, the dead shifts of similarity norms included (checkpoints hold them)."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(model: nn.Module, height: int, width: int) -> int:
    """Return the multiply-adds for one image of [3, height, width]."""
    model = copy.deepcopy(model).to("meta").eval()
    counts: list[int] = []
    for module in model.modules():
        if isinstance(module, AxialAttention | LocalAttention):
            module.forward = partial(_give_shape, module)  # type: ignore[method-assign]  # of the copy; counted as a whole
        count = _COUNTERS.get(type(module))
        if count is not None:
            module.register_forward_hook(_make_hook(count, counts))
    with torch.no_grad():
        model(torch.empty(1, 3, height, width, device="meta"))
    return sum(counts)


def _make_hook(count: Callable[[Any, Tensor, Tensor], int], counts: list[int]) -> Callable[..., None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts.append(count(module, inputs[0], output))

    return hook


def _count_conv(module: nn.Conv2d, x: Tensor, output: Tensor) -> int:
    return output.numel() * module.weight[0].numel()


def _count_linear(module: nn.Linear, x: Tensor, output: Tensor) -> int:
    return output.numel() * module.in_features


def _give_shape(module: AxialAttention | LocalAttention, x: Tensor, *, relu: bool = False) -> Tensor:
    """Stand in for a layer whose hundred small operations would take most of the time of counting."""
    return x.new_empty(x.shape[0], module.out_channels, *x.shape[2:])


def _count_axial_attention(module: AxialAttention, x: Tensor, output: Tensor) -> int:
    length = x.shape[AXES[module.axis]]
    return _count_attention(module, x, length if module.span is None else min(length, module.span))


def _count_local_attention(module: LocalAttention, x: Tensor, output: Tensor) -> int:
    return _count_attention(module, x, module.window**2)


def _count_attention(module: AxialAttention | LocalAttention, x: Tensor, seen: int) -> int:
    tables = module.tables
    key_terms = 1 + (tables.query is not None) + (tables.key is not None)
    value_terms = 1 + (tables.value is not None)
    per_head = key_terms * module.key_dim + value_terms * module.value_dim
    per_position = module.qkv.weight.numel() + seen * module.num_heads * per_head
    return x.numel() // module.in_channels * per_position


_COUNTERS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], int]] = {
    nn.Conv2d: _count_conv,
    nn.Linear: _count_linear,
    AxialAttention: _count_axial_attention,
    LocalAttention: _count_local_attention,
}
