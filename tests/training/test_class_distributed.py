"""A whole axial classifier in two processes does what one does with their batches together, to the last digits of float64."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from axial_deeplab.layers import synchronize_norms
from axial_deeplab.layers.normalization import SimilarityNorm
from axial_deeplab.models import axial_resnet_nano
from axial_deeplab.models.encoder import configure_encoder
from axial_deeplab.training.class_task import compute_loss

BATCH, CLASSES, SIDE = 2, 5, 33


def make_classifier(recompute: tuple[int, ...] = ()) -> nn.Module:
    torch.manual_seed(0)
    model = axial_resnet_nano(CLASSES)
    for name, parameter in model.named_parameters():
        if name.endswith("up.norm.weight"):  # zero at the start, which would hide the attention
            nn.init.ones_(parameter)
    configure_encoder(model.encoder, recompute=recompute)
    return model.double()


def make_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2 * BATCH, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return images, torch.randint(CLASSES, (2 * BATCH,), generator=generator)


def run_step(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the gradients and running statistics of one training step."""
    compute_loss(model(images), labels, smoothing=0.1).backward()
    own = model.module if isinstance(model, DistributedDataParallel) else model
    results = {f"grad/{name}": p.grad for name, p in own.named_parameters() if p.grad is not None}
    return results | dict(own.named_buffers())


def run_rank(rank: int, folder: str, recompute: tuple[int, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    model = make_classifier(recompute)
    synchronize_norms(model)
    images, labels = make_batch()
    rows = slice(rank, None, 2)  # as StepBatches shares samples
    torch.save(run_step(DistributedDataParallel(model), images[rows], labels[rows]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [(), (2, 3)], ids=["kept", "recomputed"])
def test_two_processes_equal_one(recompute: tuple[int, ...], tmp_path: Path) -> None:
    mp.spawn(run_rank, args=(str(tmp_path), recompute), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    model = make_classifier()
    similarity = [name for name, module in model.named_modules() if isinstance(module, SimilarityNorm)]
    assert len(similarity) == 10
    assert all(f"{name}.running_var" in first for name in similarity)
    for name, expected in run_step(model, *make_batch()).items():
        assert expected.dtype == torch.float64
        for ours in (first[name], second[name]):
            torch.testing.assert_close(
                ours, expected, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
            )
