"""What the tasks share between Lightning's loop and the functions of this package: optimizer, clipping, clock, checkpoints."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from axial_deeplab.checkpoints.load import TRAINER_KEY, CheckpointConfig
from axial_deeplab.errors import InputError
from axial_deeplab.serialization import from_plain, to_plain
from axial_deeplab.training.kinds import AnyRecipe
from axial_deeplab.training.optimizers import build_optimizer
from axial_deeplab.training.schedules import compute_factor
from axial_deeplab.training.throughput import Throughput


class TrainingTask(pl.LightningModule):
    """Train one network; what a step computes and how it is scored is up to the tasks.

    Args:
        model: The network.
        recipe: Fitted to the hardware.
        config: What checkpoints say about the model.
    """

    MONITOR: str
    """str: The logged score that decides about the best weights; higher is better."""

    def __init__(self, model: nn.Module, recipe: AnyRecipe, config: CheckpointConfig) -> None:
        super().__init__()
        self.model, self.recipe, self.config = model, recipe, config
        self.throughput = Throughput()
        self.measured: dict[str, Any] = {}
        self.losses: dict[str, Tensor] = {}
        self.file_names: list[str] = []
        self.replays = False  # whether passes have been captured

    def capture(self, images: Tensor, *, bfloat16: bool) -> None:
        """Let the network replay its passes as CUDA graphs."""
        raise NotImplementedError

    def describe_score(self) -> str:
        """Return the latest score in one line, in percent."""
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self.model, self.recipe.optimizer)
        factor = partial(compute_factor, optimizer=self.recipe.optimizer, iterations=self.recipe.iterations)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout is a function of the step too, so that a resumed run repeats it.
        torch.manual_seed(self.recipe.seed + (batch_idx + 1) * 1_000_003 + self.global_rank)
        if self.recipe.cuda_graph and not self.replays:
            self.capture(batch.images, bfloat16=self.trainer.precision == "bf16-mixed")
            self.replays = True
        self.throughput.begin_step()

    def note_step(self, losses: dict[str, Tensor], file_names: tuple[str, ...]) -> None:
        """Log the losses, and remember what they came from."""
        self.losses = {name: loss.detach() for name, loss in losses.items()}
        self.file_names += file_names
        self.log_dict({f"loss/{name}": loss for name, loss in self.losses.items()})
        self.log("learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])

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

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.throughput.end_step(len(batch.images))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[TRAINER_KEY] = to_plain(replace(self.config, measured=self.measured))
        checkpoint["throughput"] = to_plain(replace(self.throughput, _mark=None))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.throughput = from_plain(Throughput, checkpoint["throughput"], where="throughput")
