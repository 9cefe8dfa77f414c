"""Errors of the fused path against float64, at most twice those of the plain path in the same type.

Everything runs on a GPU; without one a few short lengths go through Triton's interpreter. An error is that of all lines and
several seeds together: the ratio of two small errors of a few numbers says little.
"""

from math import sqrt

import pytest
import torch
from torch import Tensor

from axial_deeplab.ops.geometry import compute_reach
from tests.ops.test_triton import Case, Inputs, compute_all, describe

ON_GPU = torch.cuda.is_available()
LENGTHS = (1, 2, 7, 16, 33, 56, 65, 97, 129, 257, 513) if ON_GPU else (2, 5)
SPANS = (None, 5, 17, 65)
SEEDS = range(6 if ON_GPU else 1)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
NAMES = ("retrieved", "queries", "keys", "values", "query table", "key table", "value table", "scales")

# Spans that see all of a line are the global one.
CASES = [
    Case(length, heads=8, inner=4, span=span)
    for length in LENGTHS
    for span in SPANS
    if span is None or compute_reach(length, span) < length - 1
]

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # lanes that are never stored


def draw_inputs(case: Case, seed: int, device: str, dtype: torch.dtype) -> Inputs:
    generator = torch.Generator().manual_seed(1000 * seed + case.length)
    qkv = torch.randn(1, case.length, case.inner, case.heads * (2 * case.key_dim + case.value_dim), generator=generator)
    rows = 2 * case.max_distance + 1
    tables = [torch.randn(rows, dim, generator=generator) for dim in (case.key_dim, case.key_dim, case.value_dim)]
    scales = torch.rand(3, case.heads, generator=generator) * 0.5 + case.key_dim**-0.5
    given = Inputs(*(x.to(device, dtype) for x in (qkv, *tables)), scales.to(device))
    return Inputs(*(x.requires_grad_() for x in given.list_present()))


def compute_parts(inputs: Inputs, case: Case, backend: str) -> list[Tensor]:
    """Return what is named in `NAMES`: the output and all gradients, those of queries, keys and values apart."""
    retrieved, grad_qkv, *others = compute_all(inputs, case, backend)
    depth = case.heads * case.key_dim
    parts = grad_qkv.split([depth, depth, case.heads * case.value_dim], dim=-1)
    return [x.detach() for x in (retrieved, *parts, *others)]


class Errors:
    """Errors of the parts over several seeds, as the root of their mean square, relative to what is expected."""

    def __init__(self) -> None:
        self.squares = [0.0] * len(NAMES)

    def add(self, actual: list[Tensor], expected: list[Tensor]) -> None:
        for i, (ours, truth) in enumerate(zip(actual, expected, strict=True)):
            norm = float(truth.norm())
            error = float((ours.double() - truth).norm())
            self.squares[i] += (error / (norm if norm > 1e-6 else sqrt(truth.numel()))) ** 2

    def combine(self) -> list[float]:
        return [sqrt(square / len(SEEDS)) for square in self.squares]


def list_runs() -> list:
    runs = []
    for dtype in DTYPES:
        if dtype == torch.bfloat16 and not ON_GPU:
            continue  # wrong in Triton's interpreter
        for backend in ("triton", "auto") if dtype == torch.bfloat16 else ("triton",):
            runs.append(pytest.param(dtype, backend, id=f"{str(dtype).removeprefix('torch.')} {backend}"))
    return runs


@pytest.mark.parametrize("case", CASES, ids=describe)
@pytest.mark.parametrize(("dtype", "backend"), list_runs())
@pytest.mark.usefixtures("poisoned")
def test_errors_are_at_most_twice_those_of_the_plain_path(
    dtype: torch.dtype, backend: str, case: Case, device: str
) -> None:
    ours, plain = Errors(), Errors()
    for seed in SEEDS:
        inputs = draw_inputs(case, seed, device, dtype)
        expected = compute_parts(inputs.convert(torch.float64), case, "reference")
        plain.add(compute_parts(inputs, case, "reference"), expected)
        actual = compute_parts(inputs, case, backend)
        ours.add(actual, expected)
        if seed == 0 and (ON_GPU or case.length <= 2):
            assert all(map(torch.equal, actual, compute_parts(inputs, case, backend)))
    rounding = torch.finfo(dtype).eps / 2
    for name, error, bound in zip(NAMES, ours.combine(), plain.combine(), strict=True):
        assert error <= max(2 * bound, rounding), f"{name}: {error:.2g}, plain path {bound:.2g}"
