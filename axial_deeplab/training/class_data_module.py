"""From a recipe of classification to batches: the samples that a step sees, and those that are scored."""

import sys
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from axial_deeplab.data.classification.augment import ClassAugmentConfig, augment_encoded
from axial_deeplab.data.classification.preprocess import ClassPreprocess
from axial_deeplab.data.classification.readable import take_readable
from axial_deeplab.data.classification.records import ClassifiedImage, ClassifiedImages
from axial_deeplab.data.classification.splits import open_classified
from axial_deeplab.data.transforms import normalize_batch
from axial_deeplab.errors import InputError
from axial_deeplab.training.class_config import ClassDataConfig, ClassificationRecipe
from axial_deeplab.training.sampling import StepBatches, locate_in_parts, make_generator


class ClassBatch(NamedTuple):
    """Images of one size with their labels; uint8 from the loader, float32 and normalised on the device."""

    images: Tensor  # [batch, 3, height, width]
    labels: Tensor  # int64 [batch]
    file_names: tuple[str, ...]
    damaged: tuple[str, ...] = ()  # what was wrong with images in whose place others stand


class ClassSamples(Dataset[ClassifiedImage]):
    """Map the running number of a sample to one augmented image, the same on every call."""

    def __init__(self, records: ClassifiedImages, config: ClassAugmentConfig, seed: int) -> None:
        self.records, self.config, self.seed = records, config, seed

    def __getitem__(self, number: int) -> ClassifiedImage:
        index = locate_in_parts(number, parts=self.records.parts, seed=self.seed)
        return take_readable(
            self.records,
            index,
            lambda encoded: augment_encoded(encoded, self.config, seed_torch(number, seed=self.seed)),
        )


class ScoredImages(Dataset[ClassifiedImage]):
    """Map the number of an image to what the network is shown of it."""

    def __init__(self, records: ClassifiedImages, preprocess: ClassPreprocess) -> None:
        self.records, self.preprocess = records, preprocess

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> ClassifiedImage:
        record = self.records[index]
        return record._replace(image=self.preprocess.prepare(record.image))


def open_images(config: ClassDataConfig) -> tuple[ClassifiedImages, ClassifiedImages]:
    """Return the images to learn from and those to score.

    Raises:
        InputError: If they cannot be found, or the two splits have different classes.
    """
    if config.root is None:
        raise InputError("data.root is not set: give the folder of the images, --data.root PATH")
    return open_classified(config.root, config.train_split, config.val_split)


def seed_torch(number: int, *, seed: int) -> torch.Generator:
    """Return PyTorch's form of `make_generator`."""
    return torch.Generator().manual_seed(int(make_generator(number, seed=seed).integers(2**63)))


def collate_images(records: Sequence[ClassifiedImage]) -> ClassBatch:
    """Join images of one size."""
    images, labels, file_names, damaged = zip(*records, strict=True)
    return ClassBatch(torch.stack(images), torch.tensor(labels), file_names, tuple(chain.from_iterable(damaged)))


class ClassDataModule(pl.LightningDataModule):
    """Load what each process of a run needs, beginning where the run stands."""

    def __init__(
        self, train_records: ClassifiedImages, val_records: ClassifiedImages, recipe: ClassificationRecipe
    ) -> None:
        super().__init__()
        self.train_records, self.val_records, self.recipe = train_records, val_records, recipe
        self.reported: set[str] = set()

    def train_dataloader(self) -> DataLoader[ClassifiedImage]:
        """Return the batches of the run that are left."""
        trainer, recipe = self.trainer, self.recipe
        assert trainer is not None
        batches = StepBatches(
            recipe.batch_size,
            recipe.iterations * recipe.accumulate,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            first=lambda: trainer.global_step * recipe.accumulate,
        )
        return DataLoader(
            ClassSamples(self.train_records, recipe.augment, recipe.seed),
            batch_sampler=batches,
            num_workers=recipe.data.workers,
            collate_fn=collate_images,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[ClassifiedImage]:
        """Return every `world_size`-th image, in batches where all have one size."""
        trainer, recipe = self.trainer, self.recipe
        assert trainer is not None
        images = ScoredImages(self.val_records, recipe.preprocess)
        return DataLoader(
            Subset(images, range(trainer.global_rank, len(images), trainer.world_size)),
            batch_size=recipe.batch_size if recipe.preprocess.crop else 1,
            num_workers=recipe.data.workers,
            collate_fn=collate_images,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: ClassBatch, dataloader_idx: int) -> ClassBatch:
        """Name damaged images, each once; normalise the others once they are on the device, outside of autocast."""
        for problem in batch.damaged:
            if problem not in self.reported:
                self.reported.add(problem)
                print(f"{' '.join(problem.split())}; another image stands in for it", file=sys.stderr)
        return normalize_images(batch, self.recipe.preprocess)


def normalize_images(batch: ClassBatch, preprocess: ClassPreprocess) -> ClassBatch:
    """Return the batch as the network takes it; channels-last on a GPU, as the network is."""
    images = batch.images.contiguous(memory_format=torch.channels_last) if batch.images.is_cuda else batch.images
    return batch._replace(images=normalize_batch(images, preprocess.mean, preprocess.std))
