"""Norms that two processes share, in the kernels: on two GPUs where there are some, else over gloo in Triton's interpreter."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from axial_deeplab.ops import RelativeTables, attend_packed, compute_packed_scales
from axial_deeplab.ops.batch_norm import NormState, batch_norm
from tests.ops.conftest import patch_interpreter

HEADS, KEY_DIM, EPS = 2, 4, 1e-3
OPTIONS = {"num_heads": HEADS, "key_dim": KEY_DIM, "span": 5}
SPLIT = (slice(0, 1), slice(1, 3))  # unequal, so that counts matter


def choose_device(rank: int | None = None) -> str:
    """Return where a process computes, or, without its number, skip where two cannot."""
    if rank is None and torch.cuda.is_available() and torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs, or none")
    return f"cuda:{rank}" if torch.cuda.is_available() else "cpu"


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run_norm(x: Tensor, residual: Tensor, grad: Tensor, *, shared: bool) -> list[Tensor]:
    """Return output and gradients of a norm with a sum and a ReLU, those of its parameters, and its running statistics."""
    device, dtype = x.device, x.dtype
    rows, residual = (value.flatten(0, 2).requires_grad_() for value in (x, residual))
    weight, bias = (draw(x.shape[3], seed=seed).to(device, dtype).requires_grad_() for seed in (1, 2))
    running = [torch.zeros_like(weight.detach()), torch.ones_like(weight.detach())]
    if shared:
        options = {"eps": EPS, "momentum": 0.1, "correction": 1, "residual": residual, "relu": True}
        out = batch_norm(rows, weight, bias, *running, shared=True, **options)
    else:
        out = torch.nn.functional.batch_norm(rows, *running, weight, bias, True, 0.1, EPS)
        out = (out + residual).relu()
    return [out, *torch.autograd.grad(out, (rows, residual, weight, bias), grad.flatten(0, 2)), *running]


def run_attention(x: Tensor, grad: Tensor, *, shared: bool) -> list[Tensor]:
    """Return output and gradients of attention with its two norms, those of its parameters, and the statistics."""
    device, dtype = x.device, x.dtype
    x.requires_grad_()
    channels = x.shape[3]
    weight, bias = (draw(channels, seed=seed).to(device, dtype).requires_grad_() for seed in (3, 4))
    tables = [draw(9, width, seed=5 + width).to(device, dtype).requires_grad_() for width in (KEY_DIM, KEY_DIM, 8)]
    tables[1] = (tables[1].detach() + 1).requires_grad_()
    term_weight = draw(3, HEADS, seed=6).to(device, dtype).requires_grad_()
    running = [torch.zeros(channels, dtype=dtype, device=device), torch.ones(channels, dtype=dtype, device=device)]
    if shared:
        from axial_deeplab.ops.normed_attention import attend_normed

        norm = NormState(weight, bias, *running, EPS, 0.1, 0, shared=True)
        out, mean, variance = attend_normed(
            x, norm, RelativeTables(*tables), term_weight, eps=EPS, backend="triton", **OPTIONS
        )
    else:
        rows = x.flatten(0, 2)
        mean, variance = rows.mean(0), rows.var(0, correction=0)
        running[0].lerp_(mean.detach(), 0.1)
        running[1].lerp_(variance.detach(), 0.1)
        packed = ((rows - mean) * (variance + EPS).rsqrt() * weight + bias).view(x.shape)
        scales, mean, variance = compute_packed_scales(
            packed, RelativeTables(*tables), term_weight, eps=EPS, backend="reference", **OPTIONS
        )
        out = attend_packed(packed, tables=RelativeTables(*tables), scales=scales, backend="reference", **OPTIONS)
    found = torch.autograd.grad(out, (x, weight, bias, *tables, term_weight), grad)
    return [out, *found, mean, variance, *running]


def make_inputs() -> list[Tensor]:
    channels = 4 * HEADS * KEY_DIM
    shapes = [(3, 7, 2, channels)] * 4 + [(3, 7, 2, 2 * HEADS * 2 * KEY_DIM)]
    inputs = [draw(*shape, seed=10 + number) for number, shape in enumerate(shapes)]
    inputs[0] = inputs[0] * 2 + 50  # a mean much larger than the deviations
    return inputs


def run_both(x: Tensor, residual: Tensor, grad: Tensor, y: Tensor, out_grad: Tensor, *, shared: bool) -> list[Tensor]:
    return run_norm(x, residual, grad, shared=shared) + run_attention(y, out_grad, shared=shared)


def run_rank(rank: int, folder: str) -> None:
    device = choose_device(rank)
    torch.set_num_threads(1)
    if device == "cpu":
        patch_interpreter()
    else:
        torch.cuda.set_device(device)
    backend = "gloo" if device == "cpu" else "nccl"
    dist.init_process_group(backend, init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        inputs = [value[SPLIT[rank]].to(device, torch.float32).contiguous() for value in make_inputs()]
        results = run_both(*inputs, shared=True)
        torch.save([result.detach().cpu() for result in results], f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    choose_device()
    pytest.importorskip("triton", reason="triton is not installed")
    mp.spawn(run_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    whole = run_both(*make_inputs(), shared=False)
    split = {0, 1, 2, 7, 8}  # outputs and gradients of maps; the rest but for statistics are sums over the processes
    statistics = {5, 6, 15, 16, 17, 18}
    for number, (expected, *ours) in enumerate(zip(whole, first, second, strict=True)):
        if number in statistics:
            torch.testing.assert_close(*ours, rtol=0, atol=0)
            actual = ours[0]
        else:
            actual = torch.cat(ours) if number in split else ours[0] + ours[1]
        assert actual.shape == expected.shape, number
        error = (actual - expected).norm() / expected.norm()
        assert error < 2e-5, (number, float(error))
