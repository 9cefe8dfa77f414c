"""What a training run is made of: frozen dataclasses that print, round-trip through JSON and YAML, and fit any hardware.

A recipe states the batch that its learning rate and its iterations belong to; `hardware.fit_to_hardware` scales both.
"""

from dataclasses import dataclass, field
from typing import Literal

from axial_deeplab.data.augment import AugmentConfig
from axial_deeplab.data.layouts.detect import Layout
from axial_deeplab.data.transforms import Preprocess
from axial_deeplab.errors import InputError
from axial_deeplab.panoptic.losses import LossWeights
from axial_deeplab.panoptic.postprocess import PostprocessConfig


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
        name: One of `axial-deeplab models`.
        norm: "batch" normalises with the statistics of the batch, of all devices together; "frozen" uses and keeps the
            running statistics, for batches too small to have their own.
        norm_momentum: Share of each batch in the running statistics; `None` keeps the model's own.
        drop_path: Probability that a training image goes without the residual branch of a block of the last stage; earlier
            stages have shares of it.
        recompute: Stages, 1 .. 4, whose activations the backward pass computes again instead of keeping them: less memory,
            about a third more time for these stages.
        init: Checkpoint whose weights to start from, where names and shapes agree; `None` starts at random.
        freeze: What does not learn: "encoder" keeps the encoder as it starts, "norms" the scales, shifts and statistics of
            its norms.
    """

    name: str = "axial_deeplab_s"
    norm: Literal["batch", "frozen"] = "batch"
    norm_momentum: float | None = None
    drop_path: float = 0.0
    recompute: tuple[int, ...] = ()
    init: str | None = None
    freeze: Literal["none", "encoder", "norms"] = "none"


@dataclass(frozen=True)
class DataConfig:
    """Which images.

    Attributes:
        dataset: "coco_panoptic" reads a folder, in any layout; "scenes" draws procedural ones.
        root: Folder of the dataset; scenes have none.
        layout: How the folder is laid out; "auto" finds out.
        version: Of Mapillary Vistas, "1.2" or "2.0"; never guessed.
        train_split: Split to learn from.
        val_split: Split to score.
        images: Folder of the images, relative to `root`, of a set in none of the known layouts; `{split}` stands for the
            split, and without it both splits are the same images.
        annotations: The same for the JSON file.
        workers: Processes that load and augment, for each device.
        train_scenes: Number of procedural scenes to learn from.
        val_scenes: Number of other procedural scenes to score.
        scene_size: Side of a procedural scene in pixels.
    """

    dataset: Literal["coco_panoptic", "scenes"] = "coco_panoptic"
    root: str | None = None
    layout: Layout = "auto"
    version: str | None = None
    train_split: str = "train"
    val_split: str = "val"
    images: str | None = None
    annotations: str | None = None
    workers: int = 4
    train_scenes: int = 4096
    val_scenes: int = 32
    scene_size: int = 128


@dataclass(frozen=True)
class TargetConfig:
    """How truth is encoded; see `encode_targets`.

    The defaults are the published ones for Cityscapes, whose images have 1025x2049 pixels: `dataset check` fits them to others.

    Attributes:
        sigma: Standard deviation of the Gaussian at a center, in pixels of the crop.
        small_instance_area: Instances below this area count more, in pixels of the crop.
        small_instance_weight: How much more their semantic loss counts.
    """

    sigma: float = 8.0
    small_instance_area: int = 4096
    small_instance_weight: float = 3.0


@dataclass(frozen=True)
class LossConfig:
    """Factors of the three losses, and the share of pixels whose semantic loss counts; see `panoptic_loss`.

    The loss of offsets is in pixels, so its factor 0.01 belongs to objects of the size of those in Cityscapes; `dataset check`
    fits it to others.
    """

    semantic: float = 1.0
    center: float = 200.0
    offset: float = 0.01
    top_k: float = 0.2

    @property
    def weights(self) -> LossWeights:
        """The three factors as `panoptic_loss` takes them."""
        return LossWeights(self.semantic, self.center, self.offset)


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights move.

    Attributes:
        name: The algorithm; "sgd" uses Nesterov momentum 0.9.
        lr: Base learning rate at the recipe's reference batch.
        trunk_rate: Factor on the learning rate of the encoder; below 1 for one that starts from a checkpoint.
        weight_decay: On all parameters but norms, biases and position tables.
        warmup: Iterations of linear warm-up at the reference batch.
        schedule: "poly" decays polynomially from the first step, "cosine" along half a cosine from the end of the warm-up.
        poly_power: Exponent of the polynomial decay.
        clip_norm: Largest norm of the gradient; 0 clips nothing.
        lookahead: Steps after which Lookahead pulls the weights back to its slow ones; 0 goes without. Not scaled with the
            batch.
        lookahead_rate: Share of the way that the slow weights then move.
    """

    name: Literal["adam", "adamw", "radam", "sgd"] = "adam"
    lr: float = 1e-3
    trunk_rate: float = 1.0
    weight_decay: float = 0.0
    warmup: int = 0
    schedule: Literal["poly", "cosine"] = "poly"
    poly_power: float = 0.9
    clip_norm: float = 0.0
    lookahead: int = 0
    lookahead_rate: float = 0.5


@dataclass(frozen=True)
class RunConfig:
    """What the recipes of all tasks have in common.

    Attributes:
        name: What the run is called.
        seed: Of initial weights, samples, augmentation and drop path.
        model: The network.
        optimizer: How its weights move.
        iterations: Optimizer steps at the reference batch.
        batch_size: Images on each device in one forward pass.
        reference_batch: Images in one step that `optimizer.lr`, `optimizer.warmup`, `iterations` and `val_every` belong to.
        accumulate: Forward passes in one step.
        devices: GPUs, or processes on a CPU; 0 takes all GPUs, or one process.
        precision: "auto" is bfloat16 autocast on GPUs that have it, else float32.
        ema_decay: Decay of the averaged weights that are scored and kept; 0 keeps the last ones.
        compile: Compile the network with `torch.compile`.
        cuda_graph: Replay the encoder, of a classifier the whole network, as CUDA graphs: on one GPU, without `accumulate` and
            `compile`. Several times as fast where Python cannot launch kernels as fast as the GPU works them off; needs more
            memory.
        val_every: Iterations between scores and checkpoints at the reference batch.
        patience: Stop after so many scores without a better one; 0 never does.
    """

    name: str
    seed: int = 0
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    iterations: int = 60_000
    batch_size: int = 8
    reference_batch: int = 32
    accumulate: int = 1
    devices: int = 0
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    ema_decay: float = 0.0
    compile: bool = False
    cuda_graph: bool = False
    val_every: int = 2_000
    patience: int = 0

    def __post_init__(self) -> None:
        positive = ("iterations", "batch_size", "reference_batch", "accumulate", "val_every")
        for name in positive:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay must lie in 0 .. 1, 1 excluded, got {self.ema_decay}")
        for name, value in (("lr", self.optimizer.lr), ("trunk_rate", self.optimizer.trunk_rate)):
            if not value > 0:
                raise InputError(f"optimizer.{name} must be positive, got {value}")
        if not 0 < self.optimizer.lookahead_rate <= 1:
            rate = self.optimizer.lookahead_rate
            raise InputError(f"optimizer.lookahead_rate must lie in 0 .. 1, 0 excluded, got {rate}")
        if self.optimizer.lookahead < 0:
            raise InputError(f"optimizer.lookahead starts at 0, got {self.optimizer.lookahead}")
        if not 0 <= self.model.drop_path < 1:
            raise InputError(f"model.drop_path must lie in 0 .. 1, 1 excluded, got {self.model.drop_path}")
        if not set(self.model.recompute) <= {1, 2, 3, 4}:
            raise InputError(f"model.recompute names stages, 1 .. 4, got {list(self.model.recompute)}")
        if self.model.freeze != "none" and self.model.init is None:
            raise InputError("model.freeze would keep random weights: give it model.init, a checkpoint to start from")
        if self.model.freeze == "encoder":
            of_learning = {
                "optimizer.trunk_rate": self.optimizer.trunk_rate != 1,
                "model.drop_path": self.model.drop_path > 0,
                "model.recompute": bool(self.model.recompute),
            }
            for name in (name for name, is_set in of_learning.items() if is_set):
                raise InputError(f"{name} goes with an encoder that learns, not with model.freeze encoder")
        if self.cuda_graph and (self.accumulate > 1 or self.compile):
            raise InputError(
                "cuda_graph goes neither with accumulate, whose gradients it would overwrite, nor with compile"
            )
        if self.model.recompute and (self.cuda_graph or self.compile):
            raise InputError("model.recompute goes neither with cuda_graph nor with compile")


@dataclass(frozen=True)
class Recipe(RunConfig):
    """One experiment in panoptic segmentation.

    Settings in pixels (`augment.crop_size`, `targets`, `postprocess`) and `loss.offset` depend on the data: their defaults are
    published ones or for images of about 500 pixels, and `axial-deeplab dataset check` fits them.
    """

    task: Literal["panoptic"] = "panoptic"
    data: DataConfig = DataConfig()
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(crop_size=(513, 513)))
    targets: TargetConfig = TargetConfig()
    loss: LossConfig = LossConfig()
    preprocess: Preprocess = field(default_factory=Preprocess)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.targets.sigma > 0:
            raise InputError(f"targets.sigma must be positive, got {self.targets.sigma}")
        if not 0 < self.loss.top_k <= 1:
            raise InputError(f"loss.top_k must lie in 0 .. 1, 0 excluded, got {self.loss.top_k}")
        if self.data.workers < 0:
            raise InputError(f"data.workers starts at 0, got {self.data.workers}")
