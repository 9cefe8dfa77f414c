"""The fused batch norm against PyTorch's: on a GPU where there is one, else in Triton's interpreter."""

import pytest
import torch

from axial_deeplab.ops.batch_norm import batch_norm


@pytest.mark.parametrize(("rows", "channels"), [(2, 2), (7, 6), (130, 70), (65, 16)])
@pytest.mark.parametrize(
    "follows", [(), ("relu",), ("add_halves",), ("residual",), ("residual", "relu"), ("add_halves", "relu")], ids=str
)
@pytest.mark.usefixtures("poisoned")
def test_equals_the_norm_of_pytorch(rows: int, channels: int, follows: tuple[str, ...], device: str) -> None:
    generator = torch.Generator().manual_seed(rows)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    tensors = [draw(rows, channels) * 2 + 100, draw(channels), draw(channels)]
    if "residual" in follows:
        tensors.append(draw(rows, channels))
    results = []
    for dtype in (torch.float64, torch.float32):
        leaves = [t.to(dtype).requires_grad_() for t in tensors]
        running_mean, running_var = (
            torch.zeros(channels, dtype=dtype, device=device),
            torch.ones(channels, dtype=dtype, device=device),
        )
        if dtype == torch.float64:
            out = torch.nn.functional.batch_norm(leaves[0], running_mean, running_var, *leaves[1:3], True, 0.1, 1e-3)
            if "add_halves" in follows:
                out = out[:, : channels // 2] + out[:, channels // 2 :]
            if "residual" in follows:
                out = out + leaves[3]
            if "relu" in follows:
                out = out.relu()
        else:
            options = {name: leaves[3] if name == "residual" else True for name in follows}
            out = batch_norm(*leaves[:3], running_mean, running_var, eps=1e-3, momentum=0.1, correction=1, **options)
        grad = torch.linspace(-1, 2, out.numel(), dtype=dtype, device=device).view(out.shape)
        results.append([out, *torch.autograd.grad(out, leaves, grad), running_mean, running_var])
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=2e-4)


def test_biased_running_variance(device: str) -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).to(device)
    ones = torch.ones(4, device=device)
    mean, variance = torch.zeros(4, device=device), ones.clone()
    batch_norm(x, ones, ones, mean, variance, eps=1e-3, momentum=1.0, correction=0)
    torch.testing.assert_close(variance, x.var(0, correction=0))
    torch.testing.assert_close(mean, x.mean(0))


def test_operators_keep_their_contract(device: str) -> None:
    from axial_deeplab.ops.batch_norm import batch_statistics
    from axial_deeplab.ops.normalize_batch import normalize_batch, normalize_batch_backward

    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).to(device)
    ones = torch.ones(4, device=device)
    alone = torch.empty(0, device=device)
    forward = ("test_schema", "test_faketensor")
    given = (x, *(ones.clone() for _ in range(4)), 1e-3, 0.1, 1, False)
    torch.library.opcheck(batch_statistics, given, test_utils=forward)
    leaves = [t.clone().requires_grad_() for t in (x, ones, ones)]
    checks = (*forward, "test_autograd_registration")
    torch.library.opcheck(normalize_batch, (*leaves, ones, ones, alone, None, True, False), test_utils=checks)
    torch.library.opcheck(normalize_batch, (*leaves, ones, ones, alone, x, True, False), test_utils=checks)
    for out in (None, x):
        torch.library.opcheck(
            normalize_batch_backward, (x, x, ones, ones, ones, ones, alone, out, True, False), test_utils=forward
        )


@pytest.mark.parametrize("relu", [False, True])
def test_residual_is_added_in_place(relu: bool, device: str) -> None:
    from axial_deeplab.ops.batch_norm import add_residual

    x, other = (torch.randn(3, 700, generator=torch.Generator().manual_seed(seed)).to(device) for seed in (0, 1))
    expected = (x + other).relu() if relu else x + other
    add_residual(x, other, relu)
    assert torch.equal(x, expected)
