"""What a run of image classification is made of, beside what it shares with all runs (`RunConfig`)."""

from dataclasses import dataclass, field, replace
from typing import Literal

from axial_deeplab.data.classification.augment import ClassAugmentConfig
from axial_deeplab.data.classification.preprocess import ClassPreprocess
from axial_deeplab.errors import InputError
from axial_deeplab.training.config import ModelConfig, RunConfig


@dataclass(frozen=True)
class ClassDataConfig:
    """Which images.

    Attributes:
        root: Folder that holds ROOT/SPLIT/CLASS/*.jpg, or tar shards.
        train_split: Split to learn from.
        val_split: Split to score.
        workers: Processes that load and augment, for each device.
    """

    root: str | None = None
    train_split: str = "train"
    val_split: str = "val"
    workers: int = 4


@dataclass(frozen=True)
class ClassificationRecipe(RunConfig):
    """One experiment in image classification.

    Attributes:
        data: The images.
        augment: What happens to a training image.
        preprocess: How an image is scored, and the colors of the network's input.
        label_smoothing: Share of the target that goes to all classes alike.
        epochs: Passes over the training images; sets `iterations` from their number. 0 keeps `iterations`.
        warmup_epochs: Passes of linear warm-up; with `epochs`, sets `optimizer.warmup`.
        val_epochs: Passes between scores; with `epochs`, sets `val_every`.
    """

    task: Literal["classification"] = "classification"
    model: ModelConfig = field(default_factory=lambda: ModelConfig("axial_resnet50_s"))
    data: ClassDataConfig = ClassDataConfig()
    augment: ClassAugmentConfig = field(default_factory=ClassAugmentConfig)
    preprocess: ClassPreprocess = field(default_factory=ClassPreprocess)
    label_smoothing: float = 0.0
    epochs: float = 0.0
    warmup_epochs: float = 0.0
    val_epochs: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing must lie in 0 .. 1, 1 excluded, got {self.label_smoothing}")
        if self.epochs < 0 or self.warmup_epochs < 0 or not self.val_epochs > 0:
            raise InputError("epochs and warmup_epochs start at 0, val_epochs lies above 0")
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise InputError("warmup_epochs must be fewer than epochs; with iterations, set optimizer.warmup")
        if self.epochs and self.iterations != RunConfig.iterations:
            raise InputError("the recipe states epochs: set these, or epochs 0 with iterations")
        if self.data.workers < 0:
            raise InputError(f"data.workers starts at 0, got {self.data.workers}")


def resolve_epochs(recipe: ClassificationRecipe, num_images: int) -> ClassificationRecipe:
    """Return the recipe with durations in steps at the reference batch, and epochs 0, if it states them in epochs."""
    if not recipe.epochs:
        return recipe
    steps = num_images / recipe.reference_batch
    iterations = max(1, round(recipe.epochs * steps))
    return replace(
        recipe,
        epochs=0.0,
        warmup_epochs=0.0,
        iterations=iterations,
        val_every=max(1, min(iterations, round(recipe.val_epochs * steps))),
        optimizer=replace(recipe.optimizer, warmup=round(recipe.warmup_epochs * steps)),
    )
