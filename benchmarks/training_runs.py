"""Training runs for `benchmarks.equivalence`: the same recipe, weights and crops along one path of the attention or another."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from axial_deeplab.layers import AxialAttention, normalization
from axial_deeplab.panoptic.losses import panoptic_loss
from axial_deeplab.records import PanopticOutput, PanopticTargets
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.data_module import (
    EncodedBatch,
    TrainingSamples,
    collate_samples,
    encode_batch,
    open_datasets,
)
from axial_deeplab.training.networks import build_network
from axial_deeplab.training.optimizers import build_optimizer
from axial_deeplab.training.sampling import StepBatches
from axial_deeplab.training.schedules import compute_lr_factor
from benchmarks.gpu_timing import capture

PERTURBATION = 1e-6


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        backend: Of attention; "reference" also switches the kernels of the batch norms off.
        perturbation: Number of the change of the images; 0 leaves them as they are.
    """

    seed: int
    backend: str
    bfloat16: bool = False
    perturbation: int = 0


class Laboratory:
    """Train with one recipe on one device."""

    def __init__(self, recipe: Recipe, device: str, *, graph: bool) -> None:
        self.recipe, self.device, self.graph = recipe, device, graph
        self.load = lru_cache(maxsize=None)(self._load)  # the batches of a seed serve several runs

    @cached_property
    def records(self) -> Any:
        return open_datasets(self.recipe.data)[0]

    def train(self, run: Run, steps: int | None = None) -> Tensor:
        """Return the loss of every step, or of the first ones, float64 on the CPU."""
        batches = self.load(run.seed)[:steps]
        torch.manual_seed(run.seed)  # after loading, which draws numbers too
        model = build_network(self.recipe.model, len(self.records.categories)).to(self.device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for layer in model.modules():
            if isinstance(layer, AxialAttention):
                layer.backend = run.backend  # type: ignore[assignment]
        optimizer = build_optimizer(model, self.recipe.optimizer)
        plain = run.backend == "reference"
        losses = []
        with mock.patch.object(normalization, "can_fuse", return_value=False) if plain else nullcontext():
            step = self._prepare_step(model, batches[0], bfloat16=run.bfloat16)
            for number, batch in enumerate(perturb(batches, run.perturbation)):
                losses.append(step(batch).clone())
                nn.utils.clip_grad_norm_(model.parameters(), self.recipe.optimizer.clip_norm or torch.inf)
                for group in optimizer.param_groups:
                    group["lr"] = self.recipe.optimizer.lr * self._compute_factor(number)
                optimizer.step()
        return torch.stack(losses).double().cpu()

    def _load(self, seed: int) -> list[EncodedBatch]:
        samples = TrainingSamples(self.records, self.recipe.augment, seed)
        numbers = StepBatches(self.recipe.batch_size, self.recipe.iterations, first=lambda: 0)
        loader = DataLoader(
            samples, batch_sampler=numbers, collate_fn=collate_samples, num_workers=self.recipe.data.workers
        )
        moved = (
            batch._replace(**{name: getattr(batch, name).to(self.device) for name in batch._fields[:4]})
            for batch in loader
        )
        return [encode_batch(batch, self.recipe) for batch in moved]

    def _compute_factor(self, step: int) -> float:
        options = self.recipe.optimizer
        return compute_lr_factor(
            step, iterations=self.recipe.iterations, warmup=options.warmup, poly_power=options.poly_power
        )

    def _prepare_step(
        self, model: nn.Module, like: EncodedBatch, *, bfloat16: bool
    ) -> Callable[[EncodedBatch], Tensor]:
        """Return forward and backward for a batch; the loss that comes back is overwritten by the next call."""
        images = like.images.clone(memory_format=torch.channels_last)
        targets = PanopticTargets(*(value.clone() for value in like.targets))
        loss = torch.zeros((), device=self.device)

        def compute() -> None:
            model.zero_grad(set_to_none=True)
            with torch.autocast(self.device, torch.bfloat16, enabled=bfloat16, cache_enabled=False):
                heads = model.compute_heads(images)  # type: ignore[operator]
            output = enlarge(heads, images.shape[-1])
            weights, top_k = self.recipe.loss.weights, self.recipe.loss.top_k
            total = panoptic_loss(output, targets, weights=weights, top_k=top_k)["total"]
            total.backward()
            loss.copy_(total.detach())

        call = capture(compute) if self.graph else compute

        def step(batch: EncodedBatch) -> Tensor:
            images.copy_(batch.images)
            for value, new in zip(targets, batch.targets, strict=True):
                value.copy_(new)
            call()
            return loss

        return step


def enlarge(heads: PanopticOutput, side: int) -> PanopticOutput:
    """Do what `PanopticOutput.resize` does for a square, without a copy from the host, which a CUDA graph cannot hold."""
    logits, heatmap, offset = (
        F.interpolate(x.float(), (side, side), mode="bilinear", align_corners=True) for x in heads
    )
    return PanopticOutput(logits, heatmap, offset * ((side - 1) / (heads.offset.shape[-1] - 1)))


def perturb(batches: list[EncodedBatch], number: int) -> Iterator[EncodedBatch]:
    """Yield the batches, their images changed by at most `PERTURBATION` of each value unless `number` is 0."""
    if number == 0:
        yield from batches
        return
    generator = torch.Generator(batches[0].images.device).manual_seed(number)
    for batch in batches:
        noise = torch.rand(batch.images.shape, generator=generator, device=batch.images.device)
        yield batch._replace(images=batch.images * (1 + PERTURBATION * (2 * noise - 1)))
