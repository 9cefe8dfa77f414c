"""What happens to figures that could not be measured, and what the chart makes of them."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import plot_scaling
from benchmarks.scaling import Row, measure_sides


def measure(side: int, mode: str) -> Row:
    if side > 20:
        raise torch.OutOfMemoryError("CUDA out of memory")
    if side == 9:
        raise RuntimeError("too large to index\nsomewhere")
    return {"ms": float(side), "peak_mib": 2.0 * side}


def test_what_does_not_fit_is_recorded() -> None:
    rows = list(measure_sides(measure, "train", [5, 9, 17, 33, 65]))
    assert [row["side"] for row in rows] == [5, 9, 17, 33, 65]
    assert rows[1]["failed"] == "too large to index"
    assert rows[2]["ms"] == 17
    assert [row.get("tried") for row in rows] == [None, None, None, True, False]


def test_curves_end_where_memory_does() -> None:
    rows = [{"what": "ours"} | row for row in measure_sides(measure, "train", [17, 5, 9, 33])]
    assert plot_scaling.select(rows, "ours", "train", "ms") == ([5, 17], [5.0, 17.0])
    assert plot_scaling.select(rows, "ours", "eval", "ms") == ([], [])
    assert plot_scaling.runs_out_of_memory(rows, "ours", "train")
    assert not plot_scaling.runs_out_of_memory(rows, "sdpa", "train")


def test_chart_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    machine = {"gpu": "none", "torch": "2.11", "date": "2000-01-01"}
    rows = [{"what": "ours"} | row for mode in ("train", "eval") for row in measure_sides(measure, mode, [5, 17, 33])]
    (tmp_path / "scaling.json").write_text(json.dumps({"machine": machine, "rows": rows}))
    output = tmp_path / "images" / "scaling.png"
    assert plot_scaling.main(["--input", str(tmp_path / "scaling.json"), "--output", str(output)]) == 0
    assert output.stat().st_size > 10_000
