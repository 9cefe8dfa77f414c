"""Time and memory of one attention layer over the side of a square map: ours, a stand-in for the authors', and no positions.

    python -m benchmarks.scaling [--only ours sdpa ...] [--modes train eval] [--sides 65 129 ...] [--output FILE]

64 channels, 8 heads, batch 1, bfloat16 autocast, along the height; "train" is forward and backward, "eval" inference.

- ours: `AxialAttention`, tables as long as the stand-in's; its norms folded for inference.
- authors: `benchmarks.authors_layer`, as it is; compiled: the same under `torch.compile`.
- sdpa: `F.scaled_dot_product_attention` alone on as many queries, keys and values, without positions, norms and projection, by
  the fastest of its backends, whose name is recorded. Where a backend refuses 4 channels a head and 8 for values, it gets 8 and
  16, or 16 and 16, the first that it takes.

Times are medians, those of a CUDA graph where a call takes less than 50 ms and can be captured (longer ones do not wait for
Python), and say so; a call of more than a second is timed once, after two others. Memory is the peak of a call beyond its
input and weights, without a graph. What does not fit is recorded, and larger sides are not tried. Ours is first compared with
the stand-in, and at every side with itself on the last columns alone.
"""

import argparse
import copy
import gc
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from axial_deeplab.data.files import write_json
from axial_deeplab.layers import AxialAttention
from axial_deeplab.layers.folding import fold_norms
from axial_deeplab.layers.normalization import configure_norms
from benchmarks.authors_layer import AuthorsAxialAttention, convert_to_ours
from benchmarks.gpu_timing import capture, describe_machine, measure_error, measure_ms, measure_peak_mib

CHANNELS, NUM_HEADS = 64, 8
SIDES = (65, 129, 257, 513, 1025, 2049, 4097)
MODES = ("train", "eval")
LONGEST_CAPTURED_MS, LONGEST_ONCE_MS = 50.0, 1000.0
ALLOWED_ERROR = 5e-2
"""float: Both sides round to bfloat16 at every step."""

SDPA_BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION)
CUDNN_ELEMENTS = 2**31
SDPA_DIMS = ((4, 8), (8, 16), (16, 16))
Row = dict[str, Any]


def main() -> int:
    """Check, time, print and write; exit status 1 if ours is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--sides", nargs="+", type=int, default=list(SIDES))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/scaling.json"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a CUDA device")
    warnings.simplefilter("ignore")  # scaled dot-product attention explains each backend that it refuses
    error = compare_with_stand_in(min(options.sides))
    print(f"ours differs from the stand-in by {error:.1e} at {min(options.sides)}")
    if not error < ALLOWED_ERROR:
        return 1
    results: Row = {"machine": describe_machine(), "difference": error, "rows": []}
    for name in options.only:
        for mode in options.modes:
            for measured in measure_sides(MEASURES[name], mode, sorted(options.sides)):
                row = {"what": name} | measured
                results["rows"].append(row)
                print({key: float(f"{v:.4g}") if isinstance(v, float) else v for key, v in row.items()}, flush=True)
                write_json(options.output, results, indent=2)  # after every row: a time limit loses none
    return int(any("wrong" in row for row in results["rows"]))


def measure_sides(measure: Callable[[int, str], Row], mode: str, sides: list[int]) -> Iterator[Row]:
    """Yield one row for each side, ascending; nothing is tried beyond the first that does not fit."""
    fits = True
    for side in sides:
        row = try_to_measure(measure, side, mode) if fits else {"out_of_memory": True, "tried": False}
        fits = not row.get("out_of_memory")
        yield {"mode": mode, "side": side} | row


def try_to_measure(measure: Callable[[int, str], Row], side: int, mode: str) -> Row:
    """Return what was measured, or what went wrong; leaves no memory behind."""
    try:
        return measure(side, mode)
    except torch.OutOfMemoryError:
        return {"out_of_memory": True, "tried": True}
    except RuntimeError as error:  # such as an operation of PyTorch that cannot index so large a tensor
        return {"failed": str(error).splitlines()[0][:200]}
    finally:
        gc.collect()
        torch._dynamo.reset()
        torch.cuda.empty_cache()


def measure_call(call: Callable[[], object]) -> Row:
    """Return time and memory of a call, replayed as a CUDA graph if it is short."""
    row: Row = {"peak_mib": measure_peak_mib(call)}
    once = measure_ms(call, 1, warmup=0)
    if once > LONGEST_ONCE_MS:
        return row | {"ms": once, "graph": False}
    repeats = max(3, min(20, int(2000 / once)))
    if once < LONGEST_CAPTURED_MS:
        try:
            return row | {"ms": measure_ms(capture(call), repeats), "graph": True}
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # a call that waits for the GPU cannot be captured
            torch.cuda.synchronize()
    return row | {"ms": measure_ms(call, repeats), "graph": False}


def build_ours(side: int) -> AxialAttention:
    """Build our layer with a vector for every distance on the axis."""
    torch.manual_seed(0)
    key_dim = CHANNELS // 2 // NUM_HEADS
    return AxialAttention(
        CHANNELS, "height", key_dim=key_dim, value_dim=2 * key_dim, num_heads=NUM_HEADS, max_distance=side - 1
    ).cuda()


def build_stand_in(side: int) -> AuthorsAxialAttention:
    """Build the stand-in for the authors' layer."""
    torch.manual_seed(0)
    return AuthorsAxialAttention(CHANNELS, CHANNELS, side, num_heads=NUM_HEADS).cuda()


def make_map(side: int) -> Tensor:
    """Return the same random map in every call, channels-last."""
    generator = torch.Generator("cuda").manual_seed(0)
    x = torch.randn(1, side, side, CHANNELS, device="cuda", dtype=torch.bfloat16, generator=generator)
    return x.permute(0, 3, 1, 2)


def make_call(layer: nn.Module, x: Tensor, mode: str) -> Callable[[], object]:
    """Return one training pass or one inference as a call; `layer` is in the right mode."""
    if mode == "eval":

        @torch.inference_mode()
        def infer() -> Tensor:
            with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
                return layer(x)

        return infer
    x = x.detach().requires_grad_()
    leaves = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    grad = torch.ones_like(x)

    def train() -> tuple[Tensor | None, ...]:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            out = layer(x)
        return torch.autograd.grad(out, leaves, grad.to(out.dtype), allow_unused=True)

    return train


def measure_ours(side: int, mode: str) -> Row:
    """Measure our layer, and compare its last columns with the same layer on them alone."""
    layer, x = build_ours(side), make_map(side)
    calibrate(layer, x)
    folded = copy.deepcopy(layer).eval()
    fold_norms(folded, dtype=torch.bfloat16)
    error = check_last_columns(folded, x)
    if not error < ALLOWED_ERROR:
        return {"failed": f"the last columns differ by {error}", "wrong": True}
    return measure_call(make_call(layer if mode == "train" else folded, x, mode)) | {"error": error}


def calibrate(layer: AxialAttention, x: Tensor) -> None:
    """Let the running statistics be those of some columns: without, logits are far larger than in a trained network."""
    norms = (layer.qkv_norm, layer.similarity_norm, layer.retrieved_norm)
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        layer.train()(x[..., :64])
    for norm in norms:
        norm.momentum = 0.01


@torch.inference_mode()
def check_last_columns(folded: AxialAttention, x: Tensor) -> float:
    """Return by how much the end of the output differs if the rest of the map is not there: columns are lines of their own."""
    with torch.autocast("cuda", torch.bfloat16):
        whole = folded(x)[..., -4:].clone()
        alone = folded(x[..., -4:].contiguous(memory_format=torch.channels_last))
    return measure_error(whole, alone)


def measure_stand_in(side: int, mode: str, *, compiled: bool) -> Row:
    """Measure the stand-in for the authors' layer."""
    layer: nn.Module = build_stand_in(side).train(mode == "train")
    if compiled:
        layer = torch.compile(layer, dynamic=False)  # type: ignore[assignment]
    return measure_call(make_call(layer, make_map(side), mode))


def measure_sdpa(side: int, mode: str) -> Row:
    """Measure attention without positions by every backend that takes these shapes; return the fastest."""
    found: list[Row] = []
    full = False
    for backend in SDPA_BACKENDS:
        for dims in SDPA_DIMS:
            if backend == SDPBackend.CUDNN_ATTENTION and side**2 * NUM_HEADS * dims[1] >= CUDNN_ELEMENTS:
                continue
            try:
                with sdpa_kernel(backend):
                    row = measure_call(make_sdpa_call(side, mode, dims))
            except torch.OutOfMemoryError:
                full = True
            except RuntimeError:  # not for these shapes
                continue
            else:
                found.append(row | {"backend": backend.name, "dims": dims})
            break
    if not found:
        return {"out_of_memory": True, "tried": True} if full else {"failed": "no backend takes these shapes"}
    return min(found, key=lambda row: row["ms"])


def make_sdpa_call(side: int, mode: str, dims: tuple[int, int]) -> Callable[[], object]:
    """Return one pass of scaled dot-product attention as a call; `dims` are the channels of keys and of values in a head."""
    key_dim, value_dim = dims
    q, k, v = (
        torch.randn(side, NUM_HEADS, side, dim, device="cuda", dtype=torch.bfloat16, requires_grad=mode == "train")
        for dim in (key_dim, key_dim, value_dim)
    )
    if mode == "eval":
        return lambda: F.scaled_dot_product_attention(q, k, v)
    grad = torch.ones_like(v)
    return lambda: torch.autograd.grad(F.scaled_dot_product_attention(q, k, v), (q, k, v), grad)


def compare_with_stand_in(side: int) -> float:
    """Return the difference between our layer and the stand-in with the same weights, in training."""
    theirs, ours = build_stand_in(side), build_ours(side)
    configure_norms(ours, eps=1e-5, momentum=0.1, correction=1)
    ours.load_state_dict(convert_to_ours(theirs.state_dict(), NUM_HEADS))
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        return measure_error(ours(make_map(side)), theirs(make_map(side)))


MEASURES: dict[str, Callable[[int, str], Row]] = {
    "ours": measure_ours,
    "authors": partial(measure_stand_in, compiled=False),
    "compiled": partial(measure_stand_in, compiled=True),
    "sdpa": measure_sdpa,
}


if __name__ == "__main__":
    sys.exit(main())
