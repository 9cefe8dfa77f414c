"""Which rows of the relative position tables a training can have reached: those of distances that its crops hold."""

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from axial_deeplab.layers import AxialAttention

TABLES = ("query_table", "key_table", "value_table")
"""tuple: Names of the tables in a layer, [2 * max_distance + 1, dim] each."""


def fit_rows(table: Tensor, rows: int) -> Tensor:
    """Return a table of another length, odd as well, with the same vector for every distance.

    Distances beyond a table share its end rows, so a longer one repeats them: attention computes what it did.
    """
    reach, wanted = (table.shape[0] - 1) // 2, (rows - 1) // 2
    return table[torch.arange(-wanted, wanted + 1).clamp(-reach, reach) + reach]


def find_crop(recipe: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return height and width of the crops of a recorded recipe, in pixels; `None` if it does not say."""
    augment = recipe.get("augment")
    size = augment.get("crop_size", augment.get("crop")) if isinstance(augment, Mapping) else None
    sides = [size, size] if isinstance(size, int) else size
    if isinstance(sides, (list, tuple)) and len(sides) == 2 and all(isinstance(side, int) for side in sides):
        return sides[0], sides[1]
    return None


def measure_distances(network: nn.Module, crop: tuple[int, int]) -> dict[str, int]:
    """Return the largest distance between a query and a key in every axial layer, for images of this height and width.

    The network is run on tensors without data, so that strides need not be known.
    """
    network = copy.deepcopy(network).to("meta").eval()
    distances: dict[str, int] = {}
    handles = [
        layer.register_forward_pre_hook(partial(_record, distances, name))
        for name, layer in network.named_modules()
        if isinstance(layer, AxialAttention)
    ]
    if handles:
        with torch.no_grad():
            network(torch.empty(1, 3, *crop, device="meta"))
    return distances


def _record(distances: dict[str, int], name: str, layer: AxialAttention, inputs: tuple[Tensor]) -> None:
    length = inputs[0].shape[{"height": -2, "width": -1}[layer.axis]]
    distances[name] = length - 1 if layer.span is None else min(length - 1, layer.span // 2)
