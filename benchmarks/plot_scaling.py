"""Draw what `benchmarks.scaling` measured: time and memory of a layer over the side of its map.

    python -m benchmarks.plot_scaling [--input benchmarks/results/scaling.json] [--output docs/images/scaling.png]

Needs matplotlib (`pip install 'axial-deeplab[charts]'`).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

LABELS = {
    "ours": ("this package", "#1b6ca8", "o", "-"),
    "authors": ("authors' layer (stand-in)", "#c0392b", "s", "-"),
    "compiled": ("the same, torch.compile", "#e08e0b", "^", "-"),
    "sdpa": ("no positions, SDPA", "#666666", "D", "--"),
}
"""dict: What a row of the file is called in the chart, its color, marker and line."""

PANELS = [
    ("train", "ms", "training pass, ms"),
    ("eval", "ms", "inference, ms"),
    ("train", "peak_mib", "training pass, peak MiB"),
    ("eval", "peak_mib", "inference, peak MiB"),
]


def main(arguments: list[str] | None = None) -> int:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=Path("benchmarks/results/scaling.json"))
    parser.add_argument("--output", type=Path, default=Path("docs/images/scaling.png"))
    options = parser.parse_args(arguments)
    try:
        import matplotlib
    except ImportError:
        sys.exit("this needs matplotlib: pip install 'axial-deeplab[charts]'")
    matplotlib.use("Agg")
    draw(json.loads(options.input.read_text()), options.output)
    return 0


def select(rows: list[dict[str, Any]], what: str, mode: str, key: str) -> tuple[list[int], list[float]]:
    """Return sides and figures of one curve, without what did not fit or failed."""
    found = sorted(
        (row["side"], row[key]) for row in rows if row["what"] == what and row["mode"] == mode and key in row
    )
    return [side for side, _ in found], [value for _, value in found]


def runs_out_of_memory(rows: list[dict[str, Any]], what: str, mode: str) -> bool:
    """Return whether some side did not fit."""
    return any(row["what"] == what and row["mode"] == mode and row.get("out_of_memory") for row in rows)


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw four panels with logarithmic axes; a cross marks the last side before memory ran out."""
    from matplotlib import pyplot
    from matplotlib.ticker import NullLocator

    rows = results["rows"]
    sides = sorted({row["side"] for row in rows})
    figure, axes = pyplot.subplots(2, 2, figsize=(10, 7.8), sharex=True, layout="constrained")
    for panel, (mode, key, title) in zip(axes.flat, PANELS, strict=True):
        for what, (label, color, marker, line) in LABELS.items():
            x, y = select(rows, what, mode, key)
            if x:
                names = sorted({row["backend"] for row in rows if row["what"] == what and "backend" in row})
                label = f"{label}: {', '.join(names)}" if names else label
                panel.plot(x, y, line, color=color, marker=marker, markersize=5, label=label)
                if runs_out_of_memory(rows, what, mode):
                    panel.plot(x[-1], y[-1], "x", color=color, markersize=15, markeredgewidth=2)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(sides, [str(side) for side in sides])
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_title(title, fontsize=10)
        panel.grid(True, which="major", color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
    for panel in axes[1]:
        panel.set_xlabel("side of a square map, 64 channels, 8 heads, batch 1")
    axes[0, 0].plot(
        [], [], "x", color="black", markersize=9, markeredgewidth=2, label="the next side does not fit in memory"
    )
    figure.legend(
        handles=axes[0, 0].get_legend_handles_labels()[0],
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
    )
    machine = results["machine"]
    figure.suptitle(
        f"one axial attention layer, bfloat16, {machine['gpu']}, torch {machine['torch']}, {machine['date']}",
        fontsize=11,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
