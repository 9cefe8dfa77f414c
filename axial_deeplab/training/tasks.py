"""Panoptic segmentation in Lightning's loop; everything that needs no trainer lives elsewhere."""

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from axial_deeplab.checkpoints.load import CheckpointConfig
from axial_deeplab.metrics.panoptic_quality import PanopticQuality
from axial_deeplab.panoptic.losses import panoptic_loss
from axial_deeplab.predict import Predictor
from axial_deeplab.records import PanopticRecord
from axial_deeplab.training.config import Recipe
from axial_deeplab.training.cuda_graph import replay_encoder
from axial_deeplab.training.data_module import EncodedBatch
from axial_deeplab.training.training_task import TrainingTask


class PanopticTask(TrainingTask):
    """Train and score one segmentation network.

    Args:
        model: Maps images to `PanopticOutput`.
        recipe: Fitted to the hardware.
        config: What checkpoints say about the model; also how validation prepares images and reads outputs.
    """

    MONITOR = "val/pq"
    recipe: Recipe

    def __init__(self, model: nn.Module, recipe: Recipe, config: CheckpointConfig) -> None:
        super().__init__(model, recipe, config)

    def capture(self, images: Tensor, *, bfloat16: bool) -> None:
        replay_encoder(self.model, images, bfloat16=bfloat16)

    def describe_score(self) -> str:
        groups = {name: self.measured[name] for name in ("All", "Things", "Stuff")}
        return "  ".join(
            f"{name} PQ {100 * group['pq']:.1f} (SQ {100 * group['sq']:.1f}, RQ {100 * group['rq']:.1f})"
            for name, group in groups.items()
        )

    def training_step(self, batch: EncodedBatch, batch_idx: int) -> Tensor:
        output = self.model(batch.images)
        losses = panoptic_loss(output, batch.targets, weights=self.recipe.loss.weights, top_k=self.recipe.loss.top_k)
        self.note_step(losses, batch.file_names)
        return losses["total"]

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


def gather_quality(quality: PanopticQuality, world_size: int) -> PanopticQuality:
    """Return the counts of all processes together, on each of them."""
    if world_size == 1:
        return quality
    shares: list[Any] = [None] * world_size
    dist.all_gather_object(shares, quality)
    for share in shares[1:]:
        shares[0].merge(share)
    return shares[0]
