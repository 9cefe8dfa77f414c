"""Image classification in Lightning's loop."""

from typing import Any

import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from axial_deeplab.checkpoints.load import CheckpointConfig
from axial_deeplab.metrics.class_scores import ClassScores
from axial_deeplab.training.class_config import ClassificationRecipe
from axial_deeplab.training.class_data_module import ClassBatch
from axial_deeplab.training.cuda_graph import replay_module
from axial_deeplab.training.training_task import TrainingTask


class ClassificationTask(TrainingTask):
    """Train and score one classifier.

    Args:
        model: Maps images to logits.
        recipe: Fitted to the hardware.
        config: What checkpoints say about the model.
    """

    MONITOR = "val/top1"
    recipe: ClassificationRecipe

    def __init__(self, model: nn.Module, recipe: ClassificationRecipe, config: CheckpointConfig) -> None:
        super().__init__(model, recipe, config)

    def capture(self, images: Tensor, *, bfloat16: bool) -> None:
        replay_module(self.model, images, bfloat16=bfloat16)

    def describe_score(self) -> str:
        top5 = "" if self.measured["top5"] is None else f"  top-5 {100 * self.measured['top5']:.2f}"
        return f"top-1 {100 * self.measured['top1']:.2f}{top5} on {self.measured['scored']} images"

    def training_step(self, batch: ClassBatch, batch_idx: int) -> Tensor:
        loss = compute_loss(self.model(batch.images), batch.labels, smoothing=self.recipe.label_smoothing)
        self.note_step({"total": loss}, batch.file_names)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.throughput.pause()
        self.scores = ClassScores(self.config.categories)

    def validation_step(self, batch: ClassBatch, batch_idx: int) -> None:
        self.scores.update(self.model(batch.images), batch.labels)

    def on_validation_epoch_end(self) -> None:
        report = gather_scores(self.scores, self.trainer.world_size).compute()
        self.measured = report.to_json() | {"step": self.global_step}
        self.log("val/top1", report.top1)
        if report.top5 is not None:
            self.log("val/top5", report.top5)


def compute_loss(logits: Tensor, labels: Tensor, *, smoothing: float) -> Tensor:
    """Return the mean cross-entropy of a batch in float32, or wider where the logits are."""
    wide = logits if logits.element_size() > 4 else logits.float()
    return F.cross_entropy(wide, labels, label_smoothing=smoothing)


def gather_scores(scores: ClassScores, world_size: int) -> ClassScores:
    """Return the counts of all processes together, on each of them."""
    if world_size == 1:
        return scores
    shares: list[Any] = [None] * world_size
    dist.all_gather_object(shares, scores)
    for share in shares[1:]:
        shares[0].merge(share)
    return shares[0]
