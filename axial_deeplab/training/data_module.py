"""From a recipe to batches: the datasets, the samples that a step sees, and how they are loaded."""

from collections.abc import Sequence
from typing import NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from axial_deeplab.data.augment import AugmentConfig, augment
from axial_deeplab.data.coco_panoptic import CocoPanopticDataset
from axial_deeplab.data.scenes import SceneDataset
from axial_deeplab.data.transforms import normalize_batch
from axial_deeplab.errors import InputError
from axial_deeplab.evaluate import LabeledImages
from axial_deeplab.panoptic.labels import split_panoptic_map
from axial_deeplab.panoptic.targets import encode_targets
from axial_deeplab.records import PanopticRecord, PanopticTargets
from axial_deeplab.training.config import DataConfig, Recipe
from axial_deeplab.training.sampling import StepBatches, locate_sample, make_generator


class Batch(NamedTuple):
    """Augmented images with their labels, not yet normalised and encoded."""

    images: Tensor  # uint8 [batch, 3, height, width]
    semantic: Tensor  # uint8 [batch, height, width]
    instance: Tensor  # int32 [batch, height, width]
    crowd: Tensor  # bool [batch, height, width]
    file_names: tuple[str, ...]


class EncodedBatch(NamedTuple):
    """What a training step takes, on the device."""

    images: Tensor  # float32 [batch, 3, height, width], normalised
    targets: PanopticTargets
    file_names: tuple[str, ...]


class TrainingSamples(Dataset[Batch]):
    """Map the running number of a sample to one augmented image as a batch of one, the same on every call."""

    def __init__(self, records: LabeledImages, config: AugmentConfig, seed: int) -> None:
        self.records, self.config, self.seed = records, config, seed

    def __getitem__(self, number: int) -> Batch:
        index = locate_sample(number, length=len(self.records), seed=self.seed)
        record = augment(self.records[index], self.config, make_generator(number, seed=self.seed))
        labels = split_panoptic_map(record.panoptic_map, record.segments)
        images, semantic, instance, crowd = (value[None] for value in (record.image, *labels))
        return Batch(images, semantic, instance, crowd, (record.file_name,))


def collate_samples(samples: Sequence[Batch]) -> Batch:
    """Join batches of one."""
    *tensors, file_names = zip(*samples, strict=True)
    images, semantic, instance, crowd = (torch.cat(values) for values in tensors)
    return Batch(images, semantic, instance, crowd, tuple(name for names in file_names for name in names))


def open_datasets(config: DataConfig) -> tuple[LabeledImages, LabeledImages]:
    """Return the records to learn from and those to score.

    Raises:
        InputError: If the data cannot be found, would not be read, or the two splits have different classes.
    """
    if config.dataset == "scenes":
        if config.root is not None:
            raise InputError(f"scenes are drawn, {config.root} would not be read: add --data.dataset coco_panoptic")
        size = config.scene_size
        return SceneDataset(config.train_scenes, size=size), SceneDataset(config.val_scenes, size=size, seed=1)
    if config.root is None:
        raise InputError("data.root is not set: give the folder of the dataset, --data.root PATH")
    splits = (config.train_split, config.val_split)
    train, val = (_open_split(config.root, split, config) for split in splits)
    if train.categories != val.categories:
        raise InputError(f"{config.root}: the splits {splits[0]} and {splits[1]} differ in categories")
    return train, val


def _open_split(root: str, split: str, config: DataConfig) -> CocoPanopticDataset:
    return CocoPanopticDataset(
        root,
        split,
        images=config.images,
        annotations=config.annotations,
        layout=config.layout,
        version=config.version,
    )


def encode_batch(batch: Batch, recipe: Recipe) -> EncodedBatch:
    """Normalise the images and encode the labels, on the device of the batch."""
    images = normalize_batch(batch.images, recipe.preprocess.mean, recipe.preprocess.std)
    targets = encode_targets(
        batch.semantic,
        batch.instance,
        batch.crowd,
        sigma=recipe.targets.sigma,
        small_instance_area=recipe.targets.small_instance_area,
        small_instance_weight=recipe.targets.small_instance_weight,
    )
    return EncodedBatch(images, targets, batch.file_names)


class PanopticDataModule(pl.LightningDataModule):
    """Load what each process of a run needs, beginning where the run stands."""

    def __init__(self, train_records: LabeledImages, val_records: LabeledImages, recipe: Recipe) -> None:
        super().__init__()
        self.train_records, self.val_records, self.recipe = train_records, val_records, recipe

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of the run that are left."""
        trainer = self.trainer
        assert trainer is not None
        batches = StepBatches(
            self.recipe.batch_size,
            self.recipe.iterations * self.recipe.accumulate,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            first=lambda: trainer.global_step * self.recipe.accumulate,
        )
        return DataLoader(
            TrainingSamples(self.train_records, self.recipe.augment, self.recipe.seed),
            batch_sampler=batches,
            num_workers=self.recipe.data.workers,
            collate_fn=collate_samples,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[PanopticRecord]:
        """Return every `world_size`-th record, one at a time and whole."""
        trainer = self.trainer
        assert trainer is not None
        share: Subset[PanopticRecord] = Subset(
            self.val_records,  # type: ignore[arg-type]  # any sequence will do
            range(trainer.global_rank, len(self.val_records), trainer.world_size),
        )
        return DataLoader(share, batch_size=None, num_workers=self.recipe.data.workers)

    def on_after_batch_transfer(
        self, batch: Batch | PanopticRecord, dataloader_idx: int
    ) -> EncodedBatch | PanopticRecord:
        """Encode training batches once they are on the device, outside of autocast."""
        return encode_batch(batch, self.recipe) if isinstance(batch, Batch) else batch
