"""Attention that ends with a norm, a sum and a ReLU against its parts: on a GPU, or in interpreter and emulator."""

import pytest
import torch

from axial_deeplab.layers import AxialAttention
from axial_deeplab.layers.folding import fold_norms
from axial_deeplab.ops import RelativeTables, attend_packed
from tests.ops.test_triton import Case, describe, make_inputs, measure_error

CASES = [
    Case(7, heads=8, outer=2),
    Case(9, key_dim=8, value_dim=16, terms=(True, False, True), heads=3),
    Case(6, terms=(True, True, False), span=3),
    Case(5, key_dim=34, value_dim=68, inner=1),
]


def compute_both(case: Case, device: str, dtype: torch.dtype, backend: str, *, relu: bool) -> list[torch.Tensor]:
    """Return the result and the same from its parts in float64."""
    from axial_deeplab.ops.folded_attention import folded_attention

    inputs = make_inputs(case, device, dtype)
    channels = (1 + case.terms[2]) * case.heads * case.value_dim
    affine = torch.randn(2, channels, generator=torch.Generator().manual_seed(3)).to(device)
    options = {"num_heads": case.heads, "key_dim": case.key_dim, "span": case.span}
    exact = inputs.convert(torch.float64)
    tables = RelativeTables(exact.query, exact.key, exact.value)
    with torch.no_grad():
        out = attend_packed(exact.qkv, tables=tables, scales=exact.scales, backend="reference", **options)
        out = out * affine[0] + affine[1]
        if case.terms[2]:
            first, second = out.chunk(2, dim=-1)
            out = first + second
        given = (inputs.qkv, *inputs[1:4], inputs.scales, affine, relu)
        return [folded_attention(*given, *options.values(), backend), out.relu() if relu else out]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("case", CASES, ids=describe)
@pytest.mark.usefixtures("poisoned")
def test_equals_its_parts(case: Case, relu: bool, device: str) -> None:
    actual, expected = compute_both(case, device, torch.float32, "triton", relu=relu)
    assert actual.shape == expected.shape
    assert measure_error(actual, expected) < 2e-6


@pytest.mark.parametrize(
    "case",
    [
        Case(18, heads=8, outer=2),
        Case(20, heads=16, inner=1, span=9, terms=(True, True, False)),
        Case(18, heads=8, key_dim=12, value_dim=24, inner=1),
    ],
    ids=describe,
)
@pytest.mark.usefixtures("poisoned")
def test_tensor_cores_end_alike(case: Case, kernels: str, device: str) -> None:
    for relu in (False, True):
        actual, expected = compute_both(case, device, torch.bfloat16, kernels, relu=relu)
        assert measure_error(actual, expected) < 8e-3


def test_folded_layer_takes_it(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from axial_deeplab.ops import folded_attention

    torch.manual_seed(0)
    layer = AxialAttention(6, "width", key_dim=4, value_dim=8, num_heads=2, max_distance=4).to(device)
    layer.backend = "reference"
    x = torch.randn(2, 6, 5, 9).to(device)
    layer.qkv_norm.momentum = layer.similarity_norm.momentum = layer.retrieved_norm.momentum = 1.0
    with torch.no_grad():
        layer(x)
        layer.eval()
        expected = layer(x, relu=True)
        fold_norms(layer)
        layer.backend = "triton"
        taken = []
        operator = folded_attention.folded_attention
        monkeypatch.setattr(folded_attention, "folded_attention", lambda *given: taken.append(1) or operator(*given))
        actual = layer(x, relu=True)
    assert taken == [1]
    torch.testing.assert_close(actual, expected, rtol=2e-4, atol=2e-4)


def test_norm_of_any_type_is_read_as_float32(kernels: str, device: str) -> None:
    from axial_deeplab.ops.folded_attention import folded_attention

    case = Case(18, heads=8, inner=1)
    inputs = make_inputs(case, device, torch.bfloat16)
    affine = torch.linspace(0.5, 1.5, 2 * 128, device=device).view(2, 128).bfloat16()
    with torch.no_grad():
        results = [
            folded_attention(*inputs[:4], inputs.scales, x, False, 8, 4, None, kernels)
            for x in (affine, affine.float())
        ]
    assert torch.equal(*results)


def test_operator_keeps_its_contract(device: str) -> None:
    from axial_deeplab.ops.folded_attention import folded_attention

    inputs = make_inputs(Case(6, max_distance=5), device)
    affine = torch.ones(2, 32, device=device)
    given = (*inputs, affine, True, 2, 4, None, "triton")
    torch.library.opcheck(folded_attention, given, test_utils=("test_schema", "test_faketensor"))
