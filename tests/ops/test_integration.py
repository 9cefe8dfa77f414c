"""The operators inside PyTorch: autocast, export, activation checkpointing, data parallel training."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from axial_deeplab.layers import AxialAttention

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # lanes that are never stored


def make_layer(device: str, backend: str = "triton", *, training: bool = True) -> AxialAttention:
    torch.manual_seed(0)
    layer = AxialAttention(4, "height", key_dim=2, value_dim=4, num_heads=1, max_distance=3).to(device).train(training)
    layer.backend = backend  # type: ignore[assignment]
    return layer


def list_gradients(layer: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_casts_the_map_and_keeps_tables_and_scales(
    dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The projection casts. `torch.library.register_autocast` would cast the tables and scales too, and to one type for all."""
    from axial_deeplab.ops import fused

    if device == "cpu" and dtype == torch.bfloat16:
        pytest.skip("bfloat16 is wrong in Triton's interpreter")
    seen = []

    def attend(*arguments: object) -> tuple[Tensor, Tensor]:
        seen.append([x.dtype for x in arguments if isinstance(x, Tensor)])
        return attention(*arguments)

    attention = fused.attention
    monkeypatch.setattr(fused, "attention", attend)
    layer = make_layer(device, training=False)  # in training the operator is another one on a GPU
    x = torch.randn(1, 4, 5, 2).to(device).requires_grad_()
    expected = layer(x)
    with torch.autocast(device, dtype):
        out = layer(x)
    assert seen[1] == [dtype, *[torch.float32] * 4]
    assert out.dtype == dtype
    assert (out.float() - expected).norm() < 5e-2 * expected.norm()
    out.float().square().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == torch.float32
    assert all(gradient.dtype == torch.float32 for gradient in list_gradients(layer))


def test_layer_exports_with_its_kernels(device: str) -> None:
    layer = make_layer(device, training=False)
    x = torch.randn(1, 4, 5, 2).to(device)
    with torch.no_grad():
        program = torch.export.export(layer, (x,))
        targets = [str(node.target) for node in program.graph.nodes]
        assert targets.count("axial_deeplab.attention.default") == 1
        torch.testing.assert_close(program.module()(x), layer(x))


def test_checkpointing_gives_the_same_gradients(device: str) -> None:
    results = []
    for recomputed in (False, True):
        layer = make_layer(device)
        x = torch.randn(1, 4, 5, 2, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
        out = checkpoint(layer, x, use_reentrant=False) if recomputed else layer(x)
        out.square().sum().backward()
        results.append([out, x.grad, *list_gradients(layer)])
    assert len(results[0]) > 6
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """Be a group of one process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_data_parallel_wrapper_changes_nothing(device: str) -> None:
    plain = make_layer(device)
    wrapped = DistributedDataParallel(copy.deepcopy(plain))
    x = torch.randn(1, 4, 5, 2).to(device)
    for layer in (plain, wrapped):
        layer(x).square().sum().backward()
    for expected, actual in zip(list_gradients(plain), list_gradients(wrapped), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def train_share(rank: int, store: str) -> None:
    """Compare gradients that two processes average with the mean of those of both shares."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    shares = torch.randn(2, 2, 4, 5, 3, generator=torch.Generator().manual_seed(2))
    expected = []
    for share in shares:
        alone = make_layer("cpu", "reference")
        alone(share).square().sum().backward()
        expected.append(list_gradients(alone))
    wrapped = DistributedDataParallel(make_layer("cpu", "reference"))
    wrapped(shares[rank]).square().sum().backward()
    for first, second, actual in zip(*expected, list_gradients(wrapped), strict=True):
        torch.testing.assert_close(actual, (first + second) / 2, rtol=1e-4, atol=1e-5)
    dist.barrier()  # a wrapper that outlives its group, or a group whose other process is gone, can wait for ever
    del wrapped
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    mp.spawn(train_share, (str(tmp_path / "store"),), nprocs=2)
