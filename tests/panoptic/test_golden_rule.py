"""The rule that rebuilds tensors from the fixtures' JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.golden_rule import assert_check, draw


def test_draw_rebuilds_all_inputs(golden: Path) -> None:
    checked = 0
    for path in sorted(golden.glob("*_l*.json")):
        meta = json.loads(path.read_text())
        entries = [*meta.get("predictions", []), *(meta[name] for name in ("input", "cotangent") if name in meta)]
        for entry in entries:
            assert_check(entry, draw(entry, meta["seed"]))
            checked += 1
    assert checked > 50


def test_entry_seed_wins() -> None:
    entry = {"key": "a", "shape": [4], "dist": "uniform", "loc": 1.0, "scale": 2.0}
    np.testing.assert_array_equal(draw(entry | {"seed": 3}, 0), draw(entry, 3))
    assert not np.array_equal(draw(entry, 0), draw(entry, 3))


def test_assert_check_notices_a_wrong_value() -> None:
    entry = {"key": "a", "shape": [4], "dist": "normal", "loc": 0.0, "scale": 1.0}
    value = draw(entry)
    entry["check"] = {"abs_sum": float(np.abs(value.astype(np.float64)).sum()), "first": value[:2].tolist()}
    assert_check(entry, value)
    with pytest.raises(AssertionError):
        assert_check(entry, value * np.float32(1.0001))
    with pytest.raises(AssertionError):
        assert_check(entry, value[::-1])
