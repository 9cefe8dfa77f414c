"""What the GPU benchmarks share: times, memory, errors, and a record of the machine."""

import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor


def describe_machine() -> dict[str, Any]:
    """Return what a figure depends on beside the code."""
    root = Path(__file__).parents[1]

    def ask_git(*arguments: str) -> str:
        asked = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
        return asked.stdout.strip()

    return {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "commit": (ask_git("rev-parse", "HEAD") or "unknown") + ("-dirty" if ask_git("status", "--porcelain") else ""),
    }


def measure_ms(call: Callable[[], object], repeats: int = 20, *, warmup: int = 3) -> float:
    """Return the median time of a call in milliseconds, between two events of the GPU, after some calls to warm up."""
    for _ in range(warmup):
        call()
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    return sorted(times)[repeats // 2]


def measure_peak_mib(call: Callable[[], object]) -> float:
    """Return how much memory a call needs at its peak beyond what is allocated before it, in MiB."""
    call()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def capture(call: Callable[[], object]) -> Callable[[], None]:
    """Return a call that replays what `call` launches as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def measure_error(actual: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference relative to that of what is expected."""
    return float((actual.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-30))
