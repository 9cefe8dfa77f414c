"""The pass mark of the golden fixtures, in one place."""

from typing import Any

import numpy as np
from torch import Tensor


def get_entry(meta: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the description of one array of a fixture."""
    return next(entry for entry in meta["arrays"] if entry["array"] == name)


def assert_close(ours: Tensor, expected: Tensor | np.ndarray, entry: dict[str, Any]) -> None:
    """Assert an error of at most 20 times the reference's own noise, or 1e-5 of the largest value.

    Where the fixture gives no noise, 2e-5 of the largest value. Arrays that are zero in exact arithmetic hold rounding noise:
    ours must only be tiny too.
    """
    expected = np.asarray(expected, dtype=np.float64)
    error = np.abs(ours.detach().cpu().numpy().astype(np.float64) - expected).max()
    noise = entry.get("noise_fp32_vs_fp64")
    tolerance = 2e-5 * entry["max_abs"] if noise is None else max(20 * noise, 1e-5 * entry["max_abs"], 1e-7)
    assert error <= tolerance, f"{entry['array']}: error {error:.2e} above {tolerance:.2e}"
