"""Time the fused attention on a GPU: the op against scaled dot-product attention, the layer against its reference path.

    python -m benchmarks.attention [--only NAME ...] [--output benchmarks/results/attention.json]

The op is compared with the fastest backend of `F.scaled_dot_product_attention` for the same lines and heads, without
positions. Some of these backends refuse 4 channels a head: they get 8, with 16 for values. The layer (projection, three batch
norms, attention, forward and backward in bfloat16) is compared with itself on the reference path. Times of the op are those
of a CUDA graph, of theirs too. Every result is checked first against float64, and what is wrong gets no time: the op's error
must be small, no result of the layer may have an error of more than twice that of the reference path in bfloat16.
"""

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from axial_deeplab.data.files import write_json
from axial_deeplab.layers import AxialAttention
from axial_deeplab.ops import RelativeTables, attend_packed
from benchmarks.gpu_timing import capture, describe_machine, measure_error, measure_ms, measure_peak_mib

NUM_HEADS = 8
ALLOWED_ERROR = 2e-2
"""float: bfloat16 rounds inputs, weights and outputs; a wrong kernel is off by far more."""

ALLOWED_RATIO = 2.0
ROUNDING = 2.0**-8
"""float: Of bfloat16; an error below is as good as none."""

REPEATS = 8
"""int: Calls in one CUDA graph."""


class Shape(NamedTuple):
    """A map [batch, channels, length, inner], attended to along its height."""

    channels: int
    batch: int
    length: int
    inner: int

    @property
    def key_dim(self) -> int:
        return self.channels // 16


SHAPES = {
    "C64 L56": Shape(64, 128, 56, 56),
    "C128 L28": Shape(128, 128, 28, 28),
    "C256 L14": Shape(256, 128, 14, 14),
    "C512 L7": Shape(512, 128, 7, 7),
    "C64 L257": Shape(64, 1, 257, 257),
    "C128 L129": Shape(128, 1, 129, 129),
    "C256 L65": Shape(256, 1, 65, 65),
    "C512 L65": Shape(512, 1, 65, 65),
    "C64 L513": Shape(64, 1, 513, 257),
}
LAYERS = {
    "C64 56x56, 64": Shape(64, 64, 56, 56),
    "C128 28x28, 64": Shape(128, 64, 28, 28),
    "C512 7x7, 64": Shape(512, 64, 7, 7),
    "C64 257x257, 1": Shape(64, 1, 257, 257),
    "C128 129x129, 1": Shape(128, 1, 129, 129),
    "C256 65x65, 1": Shape(256, 1, 65, 65),
    "C64 257x513, 1": Shape(64, 1, 257, 513),
}


def main() -> int:
    """Check, time, print and write; exit status 1 if a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="names of shapes or layers, or parts of them")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA device")
    warnings.simplefilter("ignore")  # scaled dot-product attention explains each backend that it refuses
    results: dict[str, Any] = {"machine": describe_machine(), "op": {}, "layer": {}}
    for kind, table, measure in (("op", SHAPES, measure_op), ("layer", LAYERS, measure_layer)):
        for name, shape in table.items():
            if not options.only or any(part in f"{kind} {name}" for part in options.only):
                results[kind][name] = measure(shape)
                print(kind, name, {key: _round(value) for key, value in results[kind][name].items()}, flush=True)
    for key in ("forward_ratio", "both_ratio"):
        ratios = [row[key] for row in results["op"].values() if key in row]
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            print(f"{key}: geometric mean {mean:.2f}, worst {max(ratios):.2f}")
    if options.output:
        write_json(options.output, results, indent=2)
    return int(any("wrong" in row for kind in ("op", "layer") for row in results[kind].values()))


def measure_op(shape: Shape) -> dict[str, Any]:
    """Return times of forward and of both passes, ours and those of the fastest scaled dot-product attention."""
    torch.manual_seed(0)
    dim = shape.key_dim
    qkv = torch.randn(shape.batch, shape.length, shape.inner, 4 * dim * NUM_HEADS, device="cuda").bfloat16()
    rows = 2 * shape.length - 1
    tables = RelativeTables(*(torch.randn(rows, width, device="cuda") / dim**0.5 for width in (dim, dim, 2 * dim)))
    scales = torch.rand(3, NUM_HEADS, device="cuda") * 0.5 + 0.5 / dim**0.5
    leaves = [x.requires_grad_() for x in (qkv, *tables, scales) if x is not None]
    attend = partial(attend_packed, qkv, tables=tables, scales=scales, num_heads=NUM_HEADS, key_dim=dim)
    grad = torch.randn_like(attend())
    result: dict[str, Any] = {"error": check_op(shape, leaves, attend())}
    if not result["error"] < ALLOWED_ERROR:
        return result | {"wrong": True}
    with torch.no_grad():
        result["forward_ms"] = measure_replayed_ms(attend)
    result["both_ms"] = measure_replayed_ms(lambda: torch.autograd.grad(attend(), leaves, grad))
    backend, forward, both = measure_sdpa(shape)
    result |= {"sdpa_backend": backend, "sdpa_forward_ms": forward, "sdpa_both_ms": both}
    return result | {"forward_ratio": result["forward_ms"] / forward, "both_ratio": result["both_ms"] / both}


def measure_replayed_ms(call: Callable[[], object]) -> float:
    """Return the time of a call inside a CUDA graph of several: what the GPU needs, without Python."""
    return measure_ms(capture(lambda: [call() for _ in range(REPEATS)]), 10) / REPEATS


def check_op(shape: Shape, leaves: list[Tensor], timed: Tensor) -> float:
    """Return the largest error against float64 on the last four lines: of what is timed, and all gradients of these lines."""
    few = leaves[0][-1:, :, -4:].detach()
    results = []
    for dtype, backend in ((torch.float64, "reference"), (None, "auto")):
        inputs = [x.detach().to(dtype or x.dtype).requires_grad_() for x in (few, *leaves[1:])]
        retrieved = attend_packed(
            inputs[0],
            tables=RelativeTables(*inputs[1:4]),
            scales=inputs[4],
            num_heads=NUM_HEADS,
            key_dim=shape.key_dim,
            backend=backend,  # type: ignore[arg-type]
        )
        grad = torch.randn(retrieved.shape, generator=torch.Generator().manual_seed(1)).to("cuda").bfloat16()
        results.append([retrieved, *torch.autograd.grad(retrieved, inputs, grad.to(retrieved.dtype))])
    pairs = [*zip(*results, strict=True), (results[0][0], timed[-1:, :, -4:])]
    return max(measure_error(ours, theirs) for theirs, ours in pairs)


def measure_sdpa(shape: Shape) -> tuple[str, float, float]:
    """Return name, forward time and time of both passes of the fastest backend (the fastest of each)."""
    lines, dim = shape.batch * shape.inner, max(8, shape.key_dim)
    q, k, v = (
        torch.randn(lines, NUM_HEADS, shape.length, width, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        for width in (dim, dim, 2 * dim)
    )
    grad = torch.randn_like(v)
    found = []
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        with sdpa_kernel(backend):
            try:
                with torch.no_grad():
                    forward = measure_replayed_ms(lambda: F.scaled_dot_product_attention(q, k, v))
                both = measure_replayed_ms(
                    lambda: torch.autograd.grad(F.scaled_dot_product_attention(q, k, v), (q, k, v), grad)
                )
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # not for these shapes
                continue
            found.append((backend.name, forward, both))
    return min(found, key=lambda row: row[2])[0], min(row[1] for row in found), min(row[2] for row in found)


def measure_layer(shape: Shape) -> dict[str, Any]:
    """Return time and memory of one training pass of a layer, fused and on the reference path."""
    result: dict[str, Any] = {"error_ratio": check_layer(shape)}
    if not result["error_ratio"] < ALLOWED_RATIO:
        return result | {"wrong": True}
    for name, backend in (("reference", "reference"), ("fused", "auto")):
        train = build_layer(shape, backend)
        result |= {f"{name}_ms": measure_ms(train, 10), f"{name}_peak_mib": measure_peak_mib(train)}
        result[f"{name}_graph_ms"] = measure_ms(capture(train), 10)
    eager, graph = (result[f"reference_{way}"] / result[f"fused_{way}"] for way in ("ms", "graph_ms"))
    return result | {"speedup": eager, "graph_speedup": graph}


def check_layer(shape: Shape) -> float:
    """Return how many times the error of the reference path that of the fused one is, for the worst of all results."""
    exact = build_layer(shape, "reference", torch.float64)()
    plain, fused = (
        [measure_error(*pair) for pair in zip(build_layer(shape, backend)(), exact, strict=True)]
        for backend in ("reference", "auto")
    )
    return max(ours / max(theirs, ROUNDING) for ours, theirs in zip(fused, plain, strict=True))


def build_layer(shape: Shape, backend: str, dtype: torch.dtype = torch.float32) -> Callable[[], tuple[Tensor, ...]]:
    """Return a training pass of a layer, always with the same weights and input: its output, and all gradients.

    Under autocast to bfloat16, unless the layer is in float64.
    """
    torch.manual_seed(0)
    layer = AxialAttention(shape.channels, "height", key_dim=shape.key_dim, value_dim=2 * shape.key_dim).cuda()
    layer.backend = backend  # type: ignore[assignment]
    x, grad = (
        torch.randn(shape.batch, shape.channels, shape.length, shape.inner, device="cuda").contiguous(
            memory_format=torch.channels_last
        )
        for _ in range(2)
    )
    layer, x = layer.to(dtype), x.to(dtype).requires_grad_()
    leaves = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    rounded = grad.bfloat16()

    def train() -> tuple[Tensor, ...]:
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype != torch.float64):
            out = layer(x)
        return out.detach(), *torch.autograd.grad(out, leaves, rounded.to(out.dtype))

    return train


def _round(value: Any) -> Any:
    return float(f"{value:.3g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
