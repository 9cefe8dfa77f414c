"""The kernels for wide heads against the reference in float64: on a GPU where there is one, else in Triton's interpreter."""

import pytest
import torch

from axial_deeplab.layers import AxialAttention
from axial_deeplab.ops import RelativeTables, compute_packed_moments, compute_packed_scales
from tests.ops.test_triton import Case, Inputs, compute_all, describe, make_inputs, measure_error

CASES = [
    Case(1, key_dim=40, value_dim=80, inner=1, max_distance=2),
    Case(2, key_dim=128, value_dim=256, inner=1, heads=1),
    Case(17, key_dim=48, value_dim=96, inner=1, max_distance=5),
    Case(17, key_dim=64, value_dim=128, outer=2, inner=1, heads=1, terms=(True, False, True)),
    Case(33, key_dim=36, value_dim=66, inner=1, heads=1, span=9, max_distance=3),
    Case(33, key_dim=33, value_dim=4, inner=2, heads=1, span=35, terms=(False, True, False)),
    Case(17, key_dim=4, value_dim=100, inner=1, heads=1, terms=(False, False, True)),
    Case(7, key_dim=48, value_dim=96, inner=1, terms=(False, False, False)),
]

STATISTICS_CASES = [
    Case(2, key_dim=128, value_dim=256, inner=1, heads=1, max_distance=1),
    Case(5, key_dim=40, value_dim=80, inner=3, max_distance=2),
    Case(18, key_dim=33, value_dim=66, inner=1, heads=1, span=3, max_distance=2, terms=(True, False, False)),
]


@pytest.mark.parametrize("case", CASES, ids=describe)
@pytest.mark.usefixtures("poisoned")
def test_outputs_and_gradients_equal_the_reference(case: Case, device: str) -> None:
    inputs = make_inputs(case, device)
    expected = compute_all(inputs.convert(torch.float64), case, "reference")
    single = inputs.convert(torch.float32)
    plain, fused = (compute_all(single, case, backend) for backend in ("reference", "triton"))
    for ours, theirs, truth in zip(fused, plain, expected, strict=True):
        assert ours.shape == truth.shape
        assert measure_error(ours, truth) <= max(5e-6, 2 * measure_error(theirs, truth))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 1e-4])  # of the gradients: what is small must not vanish in float16
def test_half_precision_is_as_exact_as_the_plain_path(size: float, dtype: torch.dtype, device: str) -> None:
    if dtype == torch.bfloat16 and device == "cpu":
        pytest.skip("bfloat16 is wrong in Triton's interpreter")
    case = Case(17, key_dim=48, value_dim=96, inner=1, max_distance=9)
    inputs = make_inputs(case, device, dtype)
    scales = 0.1 * inputs.scales
    half = Inputs(*(None if x is None else x.requires_grad_() for x in (*inputs[:4], scales)))
    expected = compute_all(half.convert(torch.float64), case, "reference", size)
    plain, fused = (compute_all(half, case, backend, size) for backend in ("reference", "triton"))
    for ours, theirs, truth in zip(fused, plain, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert measure_error(ours, truth) <= 2 * measure_error(theirs, truth)


def test_results_repeat(device: str) -> None:
    case = Case(17, key_dim=40, value_dim=80, inner=1, heads=1)
    first, second = (compute_all(make_inputs(case, device).convert(torch.float32), case, "triton") for _ in range(2))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("case", STATISTICS_CASES, ids=describe)
@pytest.mark.usefixtures("poisoned")
def test_statistics_and_their_gradients_equal_the_reference(case: Case, device: str) -> None:
    results = []
    for dtype, backend in ((torch.float64, "reference"), (torch.float32, "triton")):
        inputs = make_inputs(case, device).convert(dtype)
        tables = RelativeTables(inputs.query, inputs.key, inputs.value)
        options = {"num_heads": case.heads, "key_dim": case.key_dim, "span": case.span, "backend": backend}
        moments = compute_packed_moments(inputs.qkv, tables, **options)
        scales, mean, variance = compute_packed_scales(inputs.qkv, tables, inputs.scales, eps=1e-3, **options)
        wanted = [x for x in (inputs.qkv, inputs.query, inputs.key) if x is not None]
        weight = torch.linspace(0.5, 2, scales.numel(), dtype=torch.float64, device=device).view_as(scales)
        for loss in ((weight * (3 * moments.sum + moments.sum_of_squares)).sum(), (weight * scales).sum()):
            results.append(torch.autograd.grad(loss, wanted, retain_graph=True))
        results.append((*moments, scales, mean, variance))
    for expected, actual in zip(results[:3], results[3:], strict=True):
        for theirs, ours in zip(expected, actual, strict=True):
            assert measure_error(ours, theirs) < 1e-5


def test_layer_trains_alike(device: str) -> None:
    results = []
    for backend in ("reference", "triton"):
        torch.manual_seed(0)
        layer = AxialAttention(6, "height", key_dim=36, value_dim=72, num_heads=1, max_distance=2).to(device)
        layer.backend = backend
        x = torch.randn(1, 6, 5, 2).to(device).requires_grad_()
        out = layer(x)
        grads = torch.autograd.grad(out.square().sum(), [x, *(p for p in layer.parameters() if p.requires_grad)])
        results.append([out, *grads, layer.similarity_norm.running_var])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)
