"""Attention with its two norms as one operator against the three parts in float64: on a GPU, or in interpreter and emulator."""

import pytest
import torch

from axial_deeplab.ops import RelativeTables, attend_packed, compute_packed_scales
from axial_deeplab.ops.batch_norm import NormState
from axial_deeplab.ops.cuda_compile import CompileError
from tests.ops.test_triton import Case, describe, make_inputs, measure_error

CASES = [
    Case(7, heads=8, outer=2),
    Case(9, span=5, heads=3),
    Case(9, key_dim=8, value_dim=16, terms=(True, False, True)),
    Case(6, key_dim=3, value_dim=6, terms=(False, True, False), inner=1),
    Case(6, terms=(False, False, False), max_distance=2),
]


def compute_all(case: Case, device: str, dtype: torch.dtype, backend: str) -> list[torch.Tensor]:
    """Return outputs, running statistics and all gradients; by the three parts in float64."""
    inputs = make_inputs(case, device, torch.bfloat16 if backend != "triton" or dtype == torch.bfloat16 else dtype)
    exact = dtype == torch.float64
    channels = inputs.qkv.shape[3]
    generator = torch.Generator().manual_seed(2)
    small = torch.float64 if exact else torch.float32
    weight, bias = (torch.randn(channels, generator=generator).to(device, small) * 0.3 + 1 for _ in range(2))
    qkv = (3 * inputs.qkv + 1).to(dtype)
    leaves = [x.detach().to(small).requires_grad_() for x in (weight, bias, *inputs[1:]) if x is not None]
    leaves.insert(0, qkv.requires_grad_())
    tables = iter(leaves[3:])
    tables = RelativeTables(*(next(tables) if on else None for on in case.terms))
    running = [torch.zeros(channels, dtype=small, device=device), torch.ones(channels, dtype=small, device=device)]
    options = {"num_heads": case.heads, "key_dim": case.key_dim, "span": case.span}
    if exact:
        rows = torch.nn.functional.batch_norm(qkv.flatten(0, 2), *running, leaves[1], leaves[2], True, 0.1, 1e-3)
        packed = rows.view(qkv.shape)
        scales, mean, variance = compute_packed_scales(
            packed, tables, leaves[-1], eps=1e-3, backend="reference", **options
        )
        out = attend_packed(packed, tables=tables, scales=scales, backend="reference", **options)
    else:
        from axial_deeplab.ops.normed_attention import attend_normed

        norm = NormState(leaves[1], leaves[2], *running, 1e-3, 0.1, 1)
        out, mean, variance = attend_normed(qkv, norm, tables, leaves[-1], eps=1e-3, backend=backend, **options)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(device, out.dtype)
    return [out, mean, variance, *running, *torch.autograd.grad(out, leaves, grad, materialize_grads=True)]


@pytest.mark.parametrize("case", CASES, ids=describe)
@pytest.mark.usefixtures("poisoned")
def test_equals_its_parts(case: Case, device: str) -> None:
    expected = compute_all(case, device, torch.float64, "triton")
    actual = compute_all(case, device, torch.float32, "triton")
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        assert measure_error(ours, theirs) < 2e-5


@pytest.mark.parametrize("broken", ["launch_position_backward", "launch_content_backward"])
def test_kernel_that_fails_has_added_nothing(broken: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from axial_deeplab.ops import run_kernels, triton_fallback

    case = Case(6, heads=8)
    expected = compute_all(case, device, torch.float64, "triton")

    def fail(*_: object) -> None:
        raise CompileError("not on this GPU")

    monkeypatch.setattr(run_kernels, broken, fail)
    monkeypatch.setattr(triton_fallback, "_failed", set())
    with pytest.warns(UserWarning, match="not on this GPU"):
        actual = compute_all(case, device, torch.float32, "triton")
    for ours, theirs in zip(actual, expected, strict=True):
        assert measure_error(ours, theirs) < 2e-5


@pytest.mark.parametrize(
    "case", [Case(18, heads=8, outer=2), Case(20, heads=8, span=9, key_dim=6, value_dim=12)], ids=describe
)
@pytest.mark.usefixtures("poisoned")
def test_tensor_cores_normalise_what_they_load(
    case: Case, kernels: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "cpu":  # bfloat16 is wrong in Triton's interpreter: statistics by plain operations
        from axial_deeplab.ops import run_kernels, triton_fallback

        monkeypatch.setattr(
            run_kernels,
            "launch_statistics",
            lambda qkv, g, affine: triton_fallback.sum_plainly(run_kernels.apply_affine(qkv, affine), g, case.span),
        )

        def fail(*_: object) -> None:
            raise CompileError("not here")

        for name in ("launch_position_backward", "launch_content_backward"):
            monkeypatch.setattr(run_kernels, name, fail)
        monkeypatch.setattr(triton_fallback, "_failed", set())
        monkeypatch.setattr(triton_fallback.warnings, "warn", lambda *_, **__: None)
    expected = compute_all(case, device, torch.float64, kernels)
    actual = compute_all(case, device, torch.bfloat16, kernels)
    for ours, theirs in zip(actual, expected, strict=True):
        assert measure_error(ours, theirs) < 3e-2


def test_operators_keep_their_contract(device: str) -> None:
    from axial_deeplab.ops.normed_attention import normed_attention, normed_attention_backward

    inputs = make_inputs(Case(6, max_distance=5), device)
    channels = inputs.qkv.shape[3]
    ones = torch.ones(channels, device=device)
    given = [
        inputs.qkv,
        ones,
        ones.clone(),
        ones.clone(),
        ones.clone(),
        torch.stack([ones, ones]),
        ones[:0],
        *inputs[1:],
    ]
    leaves = [x.clone().requires_grad_() if i not in (3, 4, 5, 6) else x for i, x in enumerate(given)]
    options = (2, 4, None, 1e-3)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(
        normed_attention, (*leaves, *options, True, "triton"), test_utils=(*checks, "test_autograd_registration")
    )
    saved = normed_attention(*given, *options, True, "triton")
    torch.library.opcheck(
        normed_attention_backward,
        (torch.ones_like(saved[0]), *given, *saved, *options, "triton"),
        test_utils=checks,
    )
