"""Rebuild the tensors of the golden fixtures from the entries of their JSON files.

An entry names a tensor, not its values: the values follow from `key`, `seed`, `shape`, `dist`, `loc` and `scale`.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

Entry = dict[str, Any]


def draw(entry: Entry, seed: int = 0) -> np.ndarray:
    """Return the float32 array that an entry of `variables`, `input`, `cotangent` or `predictions` describes.

    Args:
        entry: Has `key`, `shape`, `dist` ("normal" or "uniform"), `loc` and `scale`; its own "seed" wins over `seed`.
        seed: The seed at the top of the JSON file.
    """
    key = f"{entry['key']}#{entry.get('seed', seed)}"
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    sample = {"normal": generator.standard_normal, "uniform": generator.random}[entry["dist"]]
    return np.asarray(entry["loc"] + entry["scale"] * sample(entry["shape"])).astype(np.float32)


def draw_tensor(entry: Entry, seed: int = 0) -> Tensor:
    """Return `draw` as a tensor, checked against the sums that the entry carries."""
    value = draw(entry, seed)
    assert_check(entry, value)
    return torch.from_numpy(value)


def assert_check(entry: Entry, value: np.ndarray) -> None:
    """Assert that `value` has the sum of absolutes (9 digits) and the first two values of the entry's `check`."""
    check = entry["check"]
    total = np.abs(value.astype(np.float64)).sum()
    np.testing.assert_allclose(total, check["abs_sum"], rtol=1e-8, err_msg=entry["key"])
    first = np.asarray(check["first"], dtype=np.float32)
    np.testing.assert_array_equal(value.reshape(-1)[: first.size], first, err_msg=entry["key"])


def load_case(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the JSON of a fixture and its arrays."""
    meta = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as arrays:
        return meta, dict(arrays)
