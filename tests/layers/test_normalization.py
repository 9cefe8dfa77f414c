"""Batch norms across processes equal one process with the whole batch."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from axial_deeplab.layers import AxialAttention, BatchNorm, synchronize_norms


def make_module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(BatchNorm(6), AxialAttention(6, "width", key_dim=2, value_dim=3, num_heads=2, span=5))


def run(module: torch.nn.Module, x: torch.Tensor, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return output, input gradient, parameter gradients and running statistics of one training step."""
    x = x.clone().requires_grad_()
    out = module(x)
    (out * cotangent).sum().backward()
    assert x.grad is not None
    results = {"out": out.detach(), "grad": x.grad}
    results |= {f"grad/{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return results | {f"buffer/{name}": value for name, value in module.named_buffers()}


def make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 6, 4, 9, generator=generator), torch.randn(3, 6, 4, 9, generator=generator)


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    module = make_module()
    synchronize_norms(module)
    x, cotangent = make_batch()
    rows = slice(0, 1) if rank == 0 else slice(1, 3)  # unequal shares: counts must be reduced too
    torch.save(run(module, x[rows], cotangent[rows]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    mp.spawn(run_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    whole = run(make_module(), *make_batch())
    for name, expected in whole.items():
        if name in ("out", "grad"):
            ours = torch.cat([first[name], second[name]])
        elif name.startswith("grad/"):
            ours = first[name] + second[name]
        else:
            ours = first[name]
            torch.testing.assert_close(first[name], second[name])
        torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_training_statistics_match_pytorch() -> None:
    ours, theirs = BatchNorm(5, eps=1e-5, momentum=0.1), torch.nn.BatchNorm2d(5)
    for _ in range(3):
        x = torch.randn(4, 5, 3, 3) * 2 + 1
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_biased_running_variance() -> None:
    norm = BatchNorm(5, momentum=1.0, correction=0)
    x = torch.randn(4, 5, 3, 3)
    norm(x)
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3), correction=0))
