"""The CUDA kernels against the reference in float64: on a GPU where there is one, else in the emulator."""

import pytest
import torch
from torch import Tensor

from axial_deeplab.ops import cuda_choice, cuda_launch, cuda_plan
from axial_deeplab.ops.cuda_compile import compile_kernel
from axial_deeplab.ops.cuda_launch import cut_lines
from axial_deeplab.ops.cuda_plan import count_slots, explain_dims, plan_backward, plan_forward
from axial_deeplab.ops.triton_tiles import Geometry
from tests.ops.conftest import HOPPER_SHARED
from tests.ops.test_triton import Case, Inputs, compute_all, describe, make_inputs, measure_error

CASES = [
    Case(2, heads=8, outer=2),
    Case(7, heads=8, key_dim=32, value_dim=64, inner=1),
    Case(16, heads=16, inner=1, max_distance=5),
    Case(18, heads=8, key_dim=6, value_dim=12, inner=1),
    Case(18, heads=8, key_dim=12, value_dim=24, inner=1),
    Case(18, heads=8, key_dim=24, value_dim=48, inner=1),
    Case(33, heads=8, key_dim=16, value_dim=32, inner=1),
    Case(37, heads=8, key_dim=8, value_dim=16, outer=2, inner=1, span=5),
    Case(65, heads=8, inner=1, span=17, max_distance=3),
    Case(83, heads=8, inner=1),
    Case(20, heads=8, terms=(False, True, False)),
    Case(20, heads=8, terms=(False, False, True)),
    Case(20, heads=8, terms=(True, False, True), span=9),
    Case(20, heads=8, terms=(False, False, False)),
]


def make_half_inputs(case: Case, device: str) -> tuple[Inputs, Inputs]:
    """Return inputs whose map and tables are bfloat16, and the same in float64."""
    inputs = make_inputs(case, device, torch.bfloat16)
    half = Inputs(*(None if x is None else x.requires_grad_() for x in (*inputs[:4], inputs.scales)))
    return half, inputs.convert(torch.float64)


def measure_errors(actual: list[Tensor], expected: list[Tensor]) -> list[float]:
    return [measure_error(ours, theirs) for ours, theirs in zip(actual, expected, strict=True)]


@pytest.mark.parametrize("case", CASES, ids=describe)
@pytest.mark.usefixtures("poisoned")
def test_as_exact_as_the_plain_path(case: Case, kernels: str, device: str) -> None:
    half, exact = make_half_inputs(case, device)
    expected = compute_all(exact, case, "reference")
    ours = measure_errors(compute_all(half, case, kernels), expected)
    plain = measure_errors(compute_all(half, case, "reference"), expected)
    for error, bound in zip(ours, plain, strict=True):
        assert error <= max(2 * bound, 1.2e-2)  # the gradients of scales are eight numbers


@pytest.mark.parametrize("way", [(1, 2, 1), (1, 4, 2), (2, 3, 2), (4, 2, 1)], ids=str)
@pytest.mark.usefixtures("poisoned")
def test_however_a_line_is_cut(
    way: tuple[int, int, int], kernels: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans depend on the number of lines: whatever may be chosen for long lines must be right."""
    monkeypatch.setattr(cuda_plan, "_choose", lambda *_, **__: way)
    for plan in ("plan_forward", "plan_backward"):  # without what is remembered
        monkeypatch.setattr(cuda_launch, plan, getattr(cuda_plan, plan).__wrapped__)
    case = Case(70, heads=8, inner=2, max_distance=20)
    half, exact = make_half_inputs(case, device)
    expected = compute_all(exact, case, "reference")
    for ours, theirs in zip(compute_all(half, case, kernels), expected, strict=True):
        assert measure_error(ours, theirs) < 1.5e-2


@pytest.mark.parametrize("most", [1, 2, 3, 4])
@pytest.mark.parametrize("span", [None, 17])
@pytest.mark.usefixtures("poisoned")
def test_however_few_lines_are_taken_at_once(
    most: int, span: int | None, kernels: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_launch, "cut_lines", lambda g, _: cut_lines(g, most))
    monkeypatch.setattr(cuda_plan, "_choose", lambda *_, **__: (1, 1, 1))
    for plan in ("plan_forward", "plan_backward"):
        monkeypatch.setattr(cuda_launch, plan, getattr(cuda_plan, plan).__wrapped__)
    case = Case(20, heads=8, outer=2, inner=2, span=span)
    half, exact = make_half_inputs(case, device)
    expected = compute_all(exact, case, "reference")
    for ours, theirs in zip(compute_all(half, case, kernels), expected, strict=True):
        assert measure_error(ours, theirs) < 1.5e-2


def test_lines_are_cut_into_whole_maps_or_within_one() -> None:
    g = Geometry(num_lines=12, inner=4, length=20, reach=19, num_heads=8, key_dim=4, value_dim=8, terms=(True,) * 3)
    for most in range(14):
        pieces = cut_lines(g, most)
        assert [line for first, end in pieces for line in range(first, end)] == list(range(12))
        for first, end in pieces:
            assert end - first <= max(most, 1)
            assert first // 4 == (end - 1) // 4 or first % 4 == end % 4 == 0


@pytest.mark.usefixtures("poisoned")
def test_large_logits_are_attended_to(kernels: str, device: str) -> None:
    case = Case(20, heads=8, inner=1)
    half, exact = (x._replace(scales=x.scales.detach() * 60) for x in make_half_inputs(case, device))
    half, exact = (x._replace(scales=x.scales.requires_grad_()) for x in (half, exact))
    expected = compute_all(exact, case, "reference")
    actual = compute_all(half, case, kernels)
    assert all(x.isfinite().all() for x in actual)
    assert measure_error(actual[0], expected[0]) < 3e-2


def test_results_repeat(kernels: str, device: str) -> None:
    case = Case(20, heads=8, inner=3)
    first, second = (compute_all(make_half_inputs(case, device)[0], case, kernels) for _ in range(2))
    assert all(map(torch.equal, first, second))


def describe_call(length: int, key_dim: int, reach: int | None = None) -> Geometry:
    reach = length - 1 if reach is None else reach
    return Geometry(64, 64, length, reach, 8, key_dim, 2 * key_dim, (True, True, True))


@pytest.mark.parametrize("length", [1, 7, 14, 28, 56, 65, 129, 257, 513])
def test_plans_fit_the_gpus(length: int) -> None:
    for key_dim in (4, 6, 8, 12, 16, 24, 32):
        g = describe_call(length, key_dim)
        for limit in (99 * 1024, 163 * 1024, HOPPER_SHARED):
            for plan in (plan_forward(g, limit, keep_lse=True), plan_backward(g, limit)):
                assert plan is None or (plan.shared_bytes <= limit and plan.threads <= 1024)
        assert plan_forward(g, HOPPER_SHARED, keep_lse=True) is not None or length * key_dim > 4096


@pytest.mark.exhaustive
@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (9, 0), (12, 0)])
@pytest.mark.parametrize(("length", "key_dim"), [(56, 4), (28, 8), (14, 16), (7, 32)])
def test_compiles_ahead_of_time(capability: tuple[int, int], length: int, key_dim: int) -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")
    limit = (163 if capability == (8, 0) else 227 if capability == (9, 0) else 99) * 1024
    g = describe_call(length, key_dim)
    plans = (
        ("forward", plan_forward(g, limit, keep_lse=True, normed=True)),
        ("forward", plan_forward(g, limit, keep_lse=False, merge=True, relu=True)),
        ("backward", plan_backward(g, limit, normed=True)),
    )
    for name, plan in plans:
        if plan is not None:
            assert compile_kernel(name, plan.constants, capability).startswith(b"\x7fELF")


def test_no_block_waits_for_others() -> None:
    for items, others in ((512, 16), (512, 7), (64, 1), (3, 40), (5, 500)):
        slots = count_slots(items, others, 264)
        assert 1 <= slots <= items
        assert slots * others <= 264 or slots == 1


def test_says_why_it_cannot_run() -> None:
    assert "8 heads at a time" in str(explain_dims(4, 4, 8))
    assert "pairs of channels" in str(explain_dims(8, 3, 6))
    assert "2 to 32 key" in str(explain_dims(8, 40, 80))
    assert "not on a GPU" in str(
        cuda_choice.explain_why_not_cuda(torch.device("cpu"), torch.bfloat16, describe_call(8, 4))
    )
