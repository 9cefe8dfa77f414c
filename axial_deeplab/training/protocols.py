"""How the paper trains and scores on each dataset: everything in a recipe but the network.

Stated by the paper: RAdam with Lookahead and a linear warm-up, ImageNet weights to start from, output stride and span; all else
"strictly follows" Panoptic-DeepLab: batch, iterations, rate 0.001 with polynomial decay 0.9, no weight decay, crops and scales.
Not stated are the length of the warm-up and Lookahead's constants. Here the warm-up takes 1 to 2 % of the steps, and the
constants are those of Lookahead's own paper (arXiv 1907.08610), every 5 steps by one half: each score then falls on a step
where both kinds of weights agree.

Source: Axial-DeepLab (arXiv 2003.07853), section 4; Panoptic-DeepLab (arXiv 1911.10194), section 4.
"""

from typing import NamedTuple

from axial_deeplab.data.augment import AugmentConfig
from axial_deeplab.data.transforms import Preprocess
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.training.config import DataConfig, OptimizerConfig, Recipe

DEVICES = 8
"""int: On so many, `batch_size` and `accumulate` of the paper's recipes make up the published batch."""


class Protocol(NamedTuple):
    """Training and scoring on one dataset.

    Attributes:
        recipe: Everything but name, network and how a batch is shared among devices.
        input_size: Height and width that multiply-adds are counted at.
        scales: Factors of multi-scale scoring; each is taken with its mirror image.
        data_options: How commands name the dataset.
    """

    recipe: Recipe
    input_size: tuple[int, int]
    scales: tuple[float, ...]
    data_options: str


def _make_optimizer(warmup: int) -> OptimizerConfig:
    return OptimizerConfig("radam", lr=1e-3, warmup=warmup, poly_power=0.9, lookahead=5, lookahead_rate=0.5)


COCO = Protocol(
    Recipe(
        "coco",
        data=DataConfig("coco_panoptic", train_split="train2017", val_split="val2017", workers=8),
        augment=AugmentConfig((1025, 1025), min_scale=0.5, max_scale=1.5, longest_side=1025),
        preprocess=Preprocess(longest_side=1025),
        postprocess=PostprocessConfig(center_threshold=0.1, nms_kernel=41, stuff_area_limit=4096),
        optimizer=_make_optimizer(warmup=2_000),
        iterations=200_000,
        reference_batch=64,
        val_every=10_000,
    ),
    input_size=(1025, 1025),
    scales=(0.5, 0.75, 1, 1.25, 1.5),
    data_options="--data.root COCO",
)

MAPILLARY = Protocol(
    Recipe(
        "mapillary",
        data=DataConfig("coco_panoptic", train_split="training", val_split="validation", workers=8),
        augment=AugmentConfig((1025, 1025), min_scale=0.5, max_scale=2.0, longest_side=2177),
        preprocess=Preprocess(longest_side=2177),
        postprocess=PostprocessConfig(center_threshold=0.1, nms_kernel=13, stuff_area_limit=4096),
        optimizer=_make_optimizer(warmup=1_500),
        iterations=150_000,
        reference_batch=64,
        val_every=10_000,
    ),
    input_size=(2177, 2177),
    scales=(0.5, 0.75, 1, 1.25, 1.5, 1.75, 2),
    data_options="--data.root MAPILLARY --data.version 1.2",
)

CITYSCAPES = Protocol(
    Recipe(
        "cityscapes",
        data=DataConfig("coco_panoptic", workers=8),
        augment=AugmentConfig((1025, 2049), min_scale=0.5, max_scale=2.0, scale_steps=16),
        postprocess=PostprocessConfig(center_threshold=0.1, nms_kernel=13, stuff_area_limit=2048),
        optimizer=_make_optimizer(warmup=1_000),
        iterations=60_000,
        reference_batch=32,
        val_every=3_000,
    ),
    input_size=(1025, 2049),
    scales=(0.5, 0.75, 1, 1.25, 1.5, 1.75, 2),
    data_options="--data.root CITYSCAPES",
)

PROTOCOLS = {"coco": COCO, "mapillary": MAPILLARY, "cityscapes": CITYSCAPES}
"""dict: By the first word of a recipe's name."""
