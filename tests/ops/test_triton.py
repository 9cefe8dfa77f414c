"""The fused kernels against the reference in float64: on a GPU where there is one, else in Triton's interpreter."""

from contextlib import nullcontext
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from axial_deeplab.layers import AxialAttention
from axial_deeplab.ops import (
    RelativeTables,
    attend_packed,
    axial_attention,
    compute_packed_moments,
    compute_packed_scales,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # lanes that are never stored


class Case(NamedTuple):
    """One call; `terms` are the query, key and value positions."""

    length: int
    key_dim: int = 4
    value_dim: int = 8
    outer: int = 1
    inner: int = 3
    heads: int = 2
    span: int | None = None
    max_distance: int = 40
    terms: tuple[bool, bool, bool] = (True, True, True)


CASES = [
    Case(1),
    Case(2, heads=8, outer=2),
    Case(7),
    Case(16, heads=8, inner=1, max_distance=5),
    Case(19, span=5),
    Case(20, span=17, max_distance=3, outer=2, inner=1),
    Case(9, span=65),
    Case(9, key_dim=2, value_dim=4, heads=3),
    Case(9, key_dim=3, value_dim=6),
    Case(9, key_dim=12, value_dim=24, inner=1),
    Case(9, key_dim=8, value_dim=16, terms=(True, False, True)),
    Case(9, key_dim=8, value_dim=16, terms=(False, True, False)),
    Case(9, terms=(False, False, False)),
    Case(9, terms=(False, False, True), span=3),
    Case(5, key_dim=24, value_dim=48, inner=1),
]


def describe(case: Case) -> str:
    terms = "".join(name for name, on in zip("qkv", case.terms, strict=True) if on)
    return f"length {case.length} dims {case.key_dim} {case.value_dim} span {case.span} terms {terms or 'none'}"


class Inputs(NamedTuple):
    """What a call takes, in one dtype; `None` for tables that are switched off."""

    qkv: Tensor
    query: Tensor | None
    key: Tensor | None
    value: Tensor | None
    scales: Tensor

    def convert(self, dtype: torch.dtype) -> "Inputs":
        return Inputs(*(None if x is None else x.detach().to(dtype).requires_grad_() for x in self))

    def list_present(self) -> list[Tensor]:
        return [x for x in self if x is not None]


def make_inputs(case: Case, device: str, dtype: torch.dtype = torch.float32) -> Inputs:
    generator = torch.Generator().manual_seed(case.length)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    qkv = draw(case.outer, case.length, case.inner, case.heads * (2 * case.key_dim + case.value_dim))
    dims = (case.key_dim, case.key_dim, case.value_dim)
    rows = 2 * case.max_distance + 1
    tables = [draw(rows, dim) if on else None for dim, on in zip(dims, case.terms, strict=True)]
    num_terms = 1 + case.terms[0] + case.terms[1]
    scales = torch.rand(num_terms, case.heads, generator=generator).to(device) * 0.5 + case.key_dim**-0.5
    return Inputs(qkv, *tables, scales)


def attend(inputs: Inputs, case: Case, backend: str) -> Tensor:
    return attend_packed(
        inputs.qkv,
        tables=RelativeTables(inputs.query, inputs.key, inputs.value),
        scales=inputs.scales,
        num_heads=case.heads,
        key_dim=case.key_dim,
        span=case.span,
        backend=backend,
    )


def compute_all(inputs: Inputs, case: Case, backend: str, size: float = 1.0) -> list[Tensor]:
    """Return the output and all gradients for one output gradient of this size."""
    out = attend(inputs, case, backend)
    grad = (size * torch.randn(out.shape, generator=torch.Generator().manual_seed(1))).to(out.device, out.dtype)
    grads = torch.autograd.grad(out, inputs.list_present(), grad, allow_unused=True)
    return [out, *(torch.zeros_like(x) if g is None else g for x, g in zip(inputs.list_present(), grads, strict=True))]


def measure_error(actual: Tensor, expected: Tensor) -> float:
    """Return the error relative to the norm of what is expected, or to 1 where that is nothing."""
    actual, expected = actual.detach(), expected.detach().double()
    norm = expected.norm()
    return float((actual.double() - expected).norm() / (norm if norm > 1e-6 else 1.0))


@pytest.mark.parametrize("case", CASES, ids=describe)
@pytest.mark.usefixtures("poisoned")
def test_outputs_and_gradients_equal_the_reference(case: Case, device: str) -> None:
    inputs = make_inputs(case, device)
    expected = compute_all(inputs.convert(torch.float64), case, "reference")
    actual = compute_all(inputs.convert(torch.float32), case, "triton")
    assert len(actual) == len(expected)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        assert measure_error(ours, theirs) < 5e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_as_exact_as_the_plain_path(dtype: torch.dtype, device: str) -> None:
    if dtype == torch.bfloat16 and device == "cpu":
        pytest.skip("bfloat16 is wrong in Triton's interpreter")
    case = Case(9, heads=8, inner=2)
    inputs = make_inputs(case, device, dtype)
    expected = compute_all(inputs.convert(torch.float64), case, "reference")
    half = Inputs(*(None if x is None else x.to(dtype) for x in inputs[:4]), inputs.scales)
    half = Inputs(*(None if x is None else x.requires_grad_() for x in half))
    plain, fused = (compute_all(half, case, backend) for backend in ("reference", "triton"))
    for ours, theirs, truth in zip(fused, plain, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert measure_error(ours, truth) <= 2 * measure_error(theirs, truth)


def test_results_repeat(device: str) -> None:
    case = Case(5, heads=8, inner=5)
    first, second = (compute_all(make_inputs(case, device).convert(torch.float32), case, "triton") for _ in range(2))
    assert all(map(torch.equal, first, second))


def test_unpacked_form_agrees(device: str) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 2, 11, dim, generator=generator).to(device) for dim in (4, 4, 8))
    tables = RelativeTables(*(torch.randn(9, dim, generator=generator).to(device) for dim in (4, 4, 8)))
    scales = torch.rand(3, 2, generator=generator).to(device)
    expected = axial_attention(q, k, v, tables=tables, scales=scales, span=7, backend="reference")
    actual = axial_attention(q, k, v, tables=tables, scales=scales, span=7, backend="triton")
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case.length > 1], ids=describe)
@pytest.mark.usefixtures("poisoned")
def test_moments_and_their_gradients_equal_the_reference(case: Case, device: str) -> None:
    results = []
    for dtype, backend in ((torch.float64, "reference"), (torch.float32, "triton")):
        inputs = make_inputs(case, device).convert(dtype)
        tables = RelativeTables(inputs.query, inputs.key, inputs.value)
        moments = compute_packed_moments(
            inputs.qkv, tables, num_heads=case.heads, key_dim=case.key_dim, span=case.span, backend=backend
        )
        wanted = [x for x in (inputs.qkv, inputs.query, inputs.key) if x is not None]
        weight = torch.linspace(0.5, 2, moments.sum.numel(), dtype=torch.float64, device=device).view_as(moments.sum)
        loss = (weight * (3 * moments.sum + moments.sum_of_squares)).sum()
        results.append([*moments, *torch.autograd.grad(loss, wanted)])
    for theirs, ours in zip(*results, strict=True):
        assert measure_error(ours, theirs) < 1e-5


@pytest.mark.parametrize("case", [case for case in CASES if case.length > 1], ids=describe)
@pytest.mark.usefixtures("poisoned")
def test_scales_and_their_gradients_equal_the_reference(case: Case, device: str) -> None:
    results = []
    for dtype, backend in ((torch.float64, "reference"), (torch.float32, "triton")):
        inputs = make_inputs(case, device).convert(dtype)
        tables = RelativeTables(inputs.query, inputs.key, inputs.value)
        options = {"num_heads": case.heads, "key_dim": case.key_dim, "span": case.span, "eps": 1e-3}
        scales, mean, variance = compute_packed_scales(inputs.qkv, tables, inputs.scales, backend=backend, **options)
        wanted = [x for x in (inputs.qkv, inputs.query, inputs.key, inputs.scales) if x is not None]
        weight = torch.linspace(0.5, 2, scales.numel(), dtype=dtype, device=device).view_as(scales)
        results.append([scales, mean, variance, *torch.autograd.grad((weight * scales).sum(), wanted)])
    for theirs, ours in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        assert measure_error(ours, theirs) < 2e-5


@pytest.mark.parametrize(("axis", "span"), [("height", None), ("width", 5)])
def test_layer_trains_alike(axis: str, span: int | None, device: str) -> None:
    results = []
    for backend in ("reference", "triton"):
        torch.manual_seed(0)
        layer = AxialAttention(6, axis, key_dim=4, value_dim=8, num_heads=2, span=span, max_distance=4).to(device)
        layer.backend = backend
        x = torch.randn(2, 6, 9, 7).to(device).requires_grad_()
        out = layer(x)
        grads = torch.autograd.grad(out.square().sum(), [x, *(p for p in layer.parameters() if p.requires_grad)])
        results.append([out, *grads, layer.similarity_norm.running_var])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("training", [False, True])
def test_layer_takes_an_empty_batch(training: bool, device: str) -> None:
    layer = AxialAttention(6, "height", key_dim=4, value_dim=8, num_heads=2, max_distance=4).to(device).train(training)
    layer.backend = "triton"
    x = torch.zeros(0, 6, 9, 7, device=device, requires_grad=True)
    out = layer(x)
    out.sum().backward()
    assert out.shape == (0, 16, 9, 7)
    assert not any(p.grad.any() for p in layer.parameters() if p.grad is not None)


def test_operator_keeps_its_contract_with_the_compiler(device: str) -> None:
    from axial_deeplab.ops.fused import count_rows_met
    from axial_deeplab.ops.triton_autograd import (
        attention,
        attention_backward,
        similarity_statistics,
        similarity_statistics_backward,
    )

    inputs = make_inputs(Case(6, max_distance=5), device).convert(torch.float32)
    arguments = (inputs.qkv, inputs.query, inputs.key, inputs.value, inputs.scales, 2, 4, None)
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(attention, (*arguments, True, "triton"), test_utils=checks)
    torch.library.opcheck(similarity_statistics, (inputs.qkv, 2, 4, None), test_utils=checks)
    retrieved, lse = (x.detach() for x in attention(*arguments, True, "triton"))
    plain = [x.detach() for x in arguments[:5]]
    forward = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        attention_backward,
        (torch.ones_like(retrieved), *plain, retrieved, lse, 2, 4, None, "triton"),
        test_utils=forward,
    )
    grads = [torch.ones_like(x) for x in similarity_statistics(plain[0], 2, 4, None)]
    torch.library.opcheck(similarity_statistics_backward, (*grads, plain[0], 2, 4, None), test_utils=forward)
    torch.library.opcheck(count_rows_met, (plain[0], 6, 11, None), test_utils=forward)


@pytest.mark.parametrize("backend", ["reference", "triton"])
@pytest.mark.parametrize(("outer", "length", "inner"), [(0, 5, 3), (2, 5, 0), (2, 0, 3)])
@pytest.mark.parametrize("dims", [(4, 8), (48, 96)])
def test_empty_map_has_empty_outputs_and_zero_gradients(
    backend: str, outer: int, length: int, inner: int, dims: tuple[int, int], device: str
) -> None:
    case = Case(length, *dims, outer=outer, inner=inner, max_distance=5)
    inputs = make_inputs(case, device).convert(torch.float32)
    out, *grads = compute_all(inputs, case, backend)
    assert out.shape == (outer, length, inner, 2 * case.heads * case.value_dim)
    assert all(grad.shape == x.shape and not grad.any() for grad, x in zip(grads, inputs.list_present(), strict=True))


def test_empty_map_has_no_statistics(device: str) -> None:
    case = Case(5, outer=0, max_distance=5)
    inputs = make_inputs(case, device).convert(torch.float32)
    tables = RelativeTables(inputs.query, inputs.key, inputs.value)
    options = {"num_heads": case.heads, "key_dim": case.key_dim, "backend": "triton"}
    moments = compute_packed_moments(inputs.qkv, tables, **options)
    assert not any(x.any() for x in moments)
    assert all(x.isnan().all() for x in compute_packed_scales(inputs.qkv, tables, inputs.scales, eps=1e-3, **options))


def test_counts_of_rows_are_the_callers_own(device: str) -> None:
    from axial_deeplab.ops.fused import count_rows_met

    like = torch.zeros(1, device=device)
    first = count_rows_met(like, 4, 5, None)
    assert first[0].tolist() == [[0, 0, 1, 1, 2], [0, 1, 1, 1, 1], [1, 1, 1, 1, 0], [2, 1, 1, 0, 0]]
    first.zero_()
    assert count_rows_met(like, 4, 5, None)[0].sum() == 16


def test_packed_arguments_are_checked(device: str) -> None:
    case = Case(5)
    inputs = make_inputs(case, device)
    for wrong, message in (
        (inputs._replace(scales=inputs.scales[:2]), "scales must be"),
        (inputs._replace(query=inputs.query[:, :2]), "the query table must be"),
        (inputs._replace(key=inputs.key[1:]), "the key table must be"),
        (inputs._replace(qkv=inputs.qkv[..., 1:]), "a packed map must be"),
    ):
        for backend in ("reference", "triton"):
            with pytest.raises(ValueError, match=message):
                attend(wrong, case, backend)


def test_what_cannot_run_says_why(device: str) -> None:
    case = Case(5, key_dim=136, value_dim=272)
    with pytest.raises(ValueError, match="2 to 128 key and 4 to 256 value channels"):
        attend(make_inputs(case, device), case, "triton")


@pytest.mark.parametrize("training", [True, False])
def test_layer_is_one_graph_for_the_compiler(device: str, training: bool) -> None:
    torch.manual_seed(0)
    layer = AxialAttention(4, "height", key_dim=2, value_dim=4, num_heads=1, max_distance=3).to(device).train(training)
    layer.backend = "triton"
    x = torch.randn(1, 4, 5, 2).to(device)
    expected = layer(x)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected)


@pytest.mark.parametrize("broken", ["launch_forward", "launch_backward"])
@pytest.mark.parametrize("case", [Case(5, terms=(True, False, True), span=3), Case(6)], ids=describe)
def test_kernel_that_fails_is_replaced(case: Case, broken: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.errors import OutOfResources

    from axial_deeplab.ops import run_kernels, triton_fallback

    def fail(*_: object, **__: object) -> None:
        raise OutOfResources(300_000, 232_448, "shared memory")

    monkeypatch.setattr(run_kernels, broken, fail)
    monkeypatch.setattr(triton_fallback, "_failed", set())
    inputs = make_inputs(case, device)
    expected = compute_all(inputs.convert(torch.float64), case, "reference")
    with pytest.warns(UserWarning, match="OutOfResources: out of resource: shared memory"):
        first = compute_all(inputs.convert(torch.float32), case, "triton")
    second = compute_all(inputs.convert(torch.float32), case, "triton")  # a second warning would be an error
    for ours in (first, second):
        for actual, truth in zip(ours, expected, strict=True):
            assert measure_error(actual, truth) < 5e-6


@pytest.mark.parametrize("broken", ["launch_statistics", "launch_position_backward", "launch_content_backward"])
@pytest.mark.parametrize("span", [None, 3])
def test_statistics_that_fail_are_replaced(
    span: int | None, broken: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.runtime.errors import OutOfResources

    from axial_deeplab.ops import run_kernels, triton_autograd, triton_fallback

    def fail(*_: object, **__: object) -> None:
        raise OutOfResources(300_000, 232_448, "shared memory")

    results = []
    for breaks in (False, True):
        if breaks:
            monkeypatch.setattr(run_kernels, broken, fail)
            monkeypatch.setattr(triton_fallback, "_failed", set())
        qkv = make_inputs(Case(5), device).qkv.requires_grad_()
        with pytest.warns(UserWarning, match="OutOfResources") if breaks else nullcontext():
            found = triton_autograd.similarity_statistics(qkv, 2, 4, span)
            weights = [torch.linspace(0.1, 1, x.numel()).view(x.shape).to(x) for x in found]
            results.append([*found, *torch.autograd.grad(found, qkv, weights)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_memory_that_is_not_aligned_is_copied(device: str) -> None:
    from axial_deeplab.ops.triton_launch import align

    x = torch.arange(9.0, device=device)[1:]
    assert align(x).data_ptr() % 16 == 0
    assert torch.equal(align(x), x)
    kept = align(x)
    assert align(kept) is kept


def test_compiler_sees_one_graph_where_a_backend_is_chosen(device: str) -> None:
    inputs, case = make_inputs(Case(5, heads=1), device), Case(5, heads=1)
    compiled = torch.compile(lambda: attend(inputs, case, "triton"), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(), attend(inputs, case, "triton"))


def test_flops_are_counted(device: str) -> None:
    case = Case(5, span=3, terms=(True, False, True))
    inputs = make_inputs(case, device).convert(torch.float32)
    attend(inputs, case, "triton")  # the counter knows what was registered before it
    with FlopCounterMode(display=False) as counter:
        attend(inputs, case, "triton").sum().backward()
    pairs = case.outer * case.inner * case.heads * 5 * 3
    assert counter.get_total_flops() == 3 * 2 * pairs * (2 * case.key_dim + 2 * case.value_dim)
