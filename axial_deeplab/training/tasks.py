"""The adapter between Lightning's loop and the functions of this package; everything that needs no trainer lives elsewhere."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from axial_deeplab.checkpoints.load import TRAINER_KEY, CheckpointConfig
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.panoptic_quality import PanopticQuality
from axial_deeplab.panoptic.losses import panoptic_loss
from axial_deeplab.predict import Predictor
from axial_deeplab.records import PanopticRecord
from axial_deeplab.serialization import from_plain, to_plain
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.cuda_graph import replay_encoder
from axial_deeplab.training.data_module import EncodedBatch
from axial_deeplab.training.optimizers import build_optimizer
from axial_deeplab.training.schedules import compute_lr_factor
from axial_deeplab.training.throughput import Throughput


class PanopticTask(pl.LightningModule):
    """Train and score one segmentation network.

    Args:
        model: Maps images to `PanopticOutput`.
        recipe: Fitted to the hardware.
        config: What checkpoints say about the model; also how validation prepares images and reads outputs.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, config: CheckpointConfig) -> None:
        super().__init__()
        self.model, self.recipe, self.config = model, recipe, config
        self.throughput = Throughput()
        self.measured: dict[str, Any] = {}
        self.losses: dict[str, Tensor] = {}
        self.file_names: list[str] = []
        self.replays = False  # whether the encoder has been captured

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.recipe.optimizer)
        schedule = partial(
            compute_lr_factor,
            iterations=self.recipe.iterations,
            warmup=self.recipe.optimizer.warmup,
            poly_power=self.recipe.optimizer.poly_power,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, schedule), "interval": "step"},
        }

    def on_train_batch_start(self, batch: EncodedBatch, batch_idx: int) -> None:
        # Dropout is a function of the step too, so that a resumed run repeats it.
        torch.manual_seed(self.recipe.seed + (batch_idx + 1) * 1_000_003 + self.global_rank)
        if self.recipe.cuda_graph and not self.replays:
            replay_encoder(self.model, batch.images, bfloat16=self.trainer.precision == "bf16-mixed")
            self.replays = True
        self.throughput.begin_step()

    def training_step(self, batch: EncodedBatch, batch_idx: int) -> Tensor:
        output = self.model(batch.images)
        losses = panoptic_loss(output, batch.targets, weights=self.recipe.loss.weights, top_k=self.recipe.loss.top_k)
        self.losses = {name: loss.detach() for name, loss in losses.items()}
        self.file_names += batch.file_names
        self.log_dict({f"loss/{name}": loss for name, loss in self.losses.items()})
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        return losses["total"]

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, and stop the run before a weight can become something that is not a number."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimizer.clip_norm or math.inf)
        if not torch.isfinite(norm + self.losses["total"]):
            raise InputError(self._describe_divergence(norm))
        self.file_names.clear()
        self.log("gradient_norm", norm)

    def _describe_divergence(self, norm: Tensor) -> str:
        values = ", ".join(f"{name} {float(loss):.3g}" for name, loss in self.losses.items())
        last = Path(self.trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        kept = f"the last good checkpoint is {last}" if last.exists() else "no checkpoint was saved yet"
        return (
            f"step {self.global_step}: loss or gradient is not finite (losses: {values}; gradient norm {float(norm):.3g}; "
            f"images: {', '.join(self.file_names)}); {kept}; lower optimizer.lr or set optimizer.clip_norm"
        )

    def on_train_batch_end(self, outputs: Any, batch: EncodedBatch, batch_idx: int) -> None:
        self.throughput.end_step(len(batch.images))

    def on_validation_epoch_start(self) -> None:
        self.throughput.pause()
        self.quality = PanopticQuality(self.config.categories)
        precision = self.recipe.precision  # scored as trained
        use_bfloat16 = None if precision == "auto" else precision == "bf16-mixed"
        self.predictor = Predictor(self.model, self.config, self.device, use_bfloat16=use_bfloat16)

    def validation_step(self, record: PanopticRecord, batch_idx: int) -> None:
        prediction = self.predictor(record.image.permute(1, 2, 0))
        self.quality.update(record.panoptic_map, record.segments, prediction.panoptic_map, prediction.segments)

    def on_validation_epoch_end(self) -> None:
        report = gather_quality(self.quality, self.trainer.world_size).compute()
        self.measured = report.to_json() | {"step": self.global_step}
        self.log_dict({"val/pq": report.all.pq, "val/pq_things": report.things.pq, "val/pq_stuff": report.stuff.pq})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[TRAINER_KEY] = to_plain(replace(self.config, measured=self.measured))
        checkpoint["throughput"] = to_plain(replace(self.throughput, _mark=None))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.throughput = from_plain(Throughput, checkpoint["throughput"], where="throughput")


def gather_quality(quality: PanopticQuality, world_size: int) -> PanopticQuality:
    """Return the counts of all processes together, on each of them."""
    if world_size == 1:
        return quality
    shares: list[Any] = [None] * world_size
    dist.all_gather_object(shares, quality)
    for share in shares[1:]:
        shares[0].merge(share)
    return shares[0]
