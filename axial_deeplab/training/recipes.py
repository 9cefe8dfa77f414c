"""The experiments by name: one function each. A variant is `dataclasses.replace`, or an option on the command line."""

from collections.abc import Callable
from dataclasses import replace

from axial_deeplab.data.augment import AugmentConfig
from axial_deeplab.data.transforms import Preprocess
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.training.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Recipe,
    TargetConfig,
)


def scenes_small() -> Recipe:
    """Learn procedural scenes on a CPU.

    Source: none, an exercise of the whole path. Published: none.
    Measured: PQ 76.5 to 78.6, things 60.1 to 63.2, on 64 scenes never seen; seeds 0 to 2, 2026-11-25.
    Cost: about four minutes on one of two busy CPU cores.
    Command: axial-deeplab train scenes_small --output runs/scenes
    """
    return Recipe(
        name="scenes_small",
        model=ModelConfig("axial_deeplab_nano", norm_momentum=0.05),
        data=DataConfig("scenes", workers=0, scene_size=96),
        augment=AugmentConfig((97, 97), min_scale=1.0, max_scale=1.0),
        targets=TargetConfig(sigma=4.0),
        optimizer=OptimizerConfig("adam", lr=1e-2, warmup=20),
        iterations=320,
        batch_size=8,
        reference_batch=8,
        ema_decay=0.95,
        val_every=160,
    )


def nuclei_axial_deeplab_s() -> Recipe:
    """Find cell nuclei in microscope tiles: exact masks, crowded small things.

    Source: protocol of our own on the images of the 2018 Data Science Bowl (Broad Institute, CC0). Published: none.
    Measured: PQ 74.6, things 53.7; 2026-11-25.
    Cost: six and a half minutes on an H100.
    Command: axial-deeplab train nuclei_axial_deeplab_s --data.root PATH --output runs/nuclei
    """
    return Recipe(
        name="nuclei_axial_deeplab_s",
        model=ModelConfig("axial_deeplab_s", norm_momentum=0.05),
        data=DataConfig("coco_panoptic", workers=8),
        augment=AugmentConfig((257, 257), min_scale=0.75, max_scale=1.5, vertical_flip=0.5, color_jitter=0.2),
        targets=TargetConfig(sigma=3.0, small_instance_area=256),
        postprocess=PostprocessConfig(nms_kernel=5),
        optimizer=OptimizerConfig("adam", lr=1.5e-3, warmup=200, clip_norm=10.0),
        iterations=800,
        batch_size=32,
        reference_batch=32,
        ema_decay=0.998,
        val_every=400,
    )


def nuclei_panoptic_deeplab_resnet50() -> Recipe:
    """Run the convolutional baseline, ResNet-50 with ASPP, on the same terms as `nuclei_axial_deeplab_s`.

    Source: as there. Published: none.
    Measured: PQ 75.9, things 56.2; 2026-11-25.
    Cost: two and a half minutes on an H100.
    Command: axial-deeplab train nuclei_panoptic_deeplab_resnet50 --data.root PATH --output runs/nuclei-r50
    """
    return _replace_model(nuclei_axial_deeplab_s(), "nuclei_panoptic_deeplab_resnet50", "panoptic_deeplab_resnet50")


def nuclei_panoptic_deeplab_resnet50_projection() -> Recipe:
    """Run the baseline without ASPP, so that only the encoder differs from `nuclei_axial_deeplab_s`.

    Source: as there. Published: none.
    Measured: PQ 75.6, things 55.8; 2026-11-25.
    Cost: two minutes on an H100.
    Command: axial-deeplab train nuclei_panoptic_deeplab_resnet50_projection --data.root PATH --output runs/nuclei-r50p
    """
    return _replace_model(
        nuclei_axial_deeplab_s(),
        "nuclei_panoptic_deeplab_resnet50_projection",
        "panoptic_deeplab_resnet50_projection",
    )


def coco_axial_deeplab_s() -> Recipe:
    """Train Axial-DeepLab-S on COCO as the paper does, from random weights, without Lookahead.

    Source: Axial-DeepLab (arXiv 2003.07853), table 2 and section 4.2; batch, crop and schedule from Panoptic-DeepLab.
    Published: PQ 41.8 on COCO val (with ImageNet weights, single scale).
    Measured: not yet measured.
    Cost: 200,000 steps of 64 images of 1025x1025 pixels, 110 billion multiply-adds each way.
    Command: axial-deeplab train coco_axial_deeplab_s --data.root COCO --output runs/coco
    """
    return Recipe(
        name="coco_axial_deeplab_s",
        model=ModelConfig("axial_deeplab_s"),
        data=DataConfig("coco_panoptic", train_split="train2017", val_split="val2017", workers=8),
        augment=AugmentConfig((1025, 1025), min_scale=0.5, max_scale=1.5, longest_side=1025),
        preprocess=Preprocess(longest_side=1025),
        postprocess=PostprocessConfig(center_threshold=0.1, nms_kernel=41, stuff_area_limit=4096),
        optimizer=OptimizerConfig("radam", lr=1e-3, warmup=2_000),
        iterations=200_000,
        batch_size=8,
        reference_batch=64,
        val_every=10_000,
    )


def cityscapes_axial_deeplab_s() -> Recipe:
    """Train Axial-DeepLab-S on Cityscapes as the paper does, from random weights, without Lookahead.

    Source: Axial-DeepLab (arXiv 2003.07853), table 5 and section 4.4; batch, crop and schedule from Panoptic-DeepLab.
    Published: PQ 62.6 on Cityscapes val (with ImageNet weights, single scale).
    Measured: not yet measured.
    Cost: 60,000 steps of 32 images of 1025x2049 pixels, 221 billion multiply-adds each way.
    Command: axial-deeplab train cityscapes_axial_deeplab_s --data.root CITYSCAPES --output runs/cityscapes
    """
    return Recipe(
        name="cityscapes_axial_deeplab_s",
        model=ModelConfig("axial_deeplab_s"),
        data=DataConfig("coco_panoptic", workers=8),
        augment=AugmentConfig((1025, 2049), min_scale=0.5, max_scale=2.0),
        postprocess=PostprocessConfig(center_threshold=0.1, nms_kernel=13, stuff_area_limit=2048),
        optimizer=OptimizerConfig("radam", lr=1e-3, warmup=1_000),
        iterations=60_000,
        batch_size=4,
        reference_batch=32,
        val_every=3_000,
    )


def coco_overfit() -> Recipe:
    """Learn a handful of COCO photographs by heart: shows that targets, losses and post-processing agree with the format.

    Crowd regions are ignored. All pixels weigh alike and offsets thirty times more than usual: with the usual weights small
    objects come out too large and neighbors mixed (see docs/log.md).
    Source: none. Published: none; the score on the images learned should approach 100.
    Measured: PQ 87.5, things 79.9, every class found, on two photographs; 2026-11-25.
    Cost: three and a half minutes on an H100.
    Command: axial-deeplab train coco_overfit --data.root PATH --output runs/overfit
    """
    return Recipe(
        name="coco_overfit",
        model=ModelConfig("axial_deeplab_nano", norm_momentum=0.1),
        data=DataConfig("coco_panoptic", train_split="val", val_split="val", workers=2),
        augment=AugmentConfig((641, 641), min_scale=1.0, max_scale=1.0, flip=0.0),
        postprocess=PostprocessConfig(center_threshold=0.1, nms_kernel=7, stuff_area_limit=2048),
        targets=TargetConfig(small_instance_weight=1.0),
        loss=LossConfig(offset=0.3, top_k=1.0),
        optimizer=OptimizerConfig("adam", lr=2e-3, warmup=20, clip_norm=10.0),
        iterations=1_000,
        batch_size=2,
        reference_batch=2,
        val_every=500,
    )


def _replace_model(recipe: Recipe, name: str, model: str) -> Recipe:
    return replace(recipe, name=name, model=replace(recipe.model, name=model))


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        scenes_small,
        nuclei_axial_deeplab_s,
        nuclei_panoptic_deeplab_resnet50,
        nuclei_panoptic_deeplab_resnet50_projection,
        coco_axial_deeplab_s,
        cityscapes_axial_deeplab_s,
        coco_overfit,
    )
}
"""dict: Every experiment; `axial-deeplab train NAME` runs it."""
