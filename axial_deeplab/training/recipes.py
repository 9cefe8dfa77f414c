"""The experiments by name: one function each. A variant is `dataclasses.replace`, or an option on the command line.

Our own of segmentation stand here; those of the paper are tables in `paper_recipes` and `imagenet_recipes`.
"""

from collections.abc import Callable
from dataclasses import replace

from axial_deeplab.data.augment import AugmentConfig
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.training.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    Recipe,
    TargetConfig,
)
from axial_deeplab.training.flower_recipes import FLOWER_RECIPES
from axial_deeplab.training.imagenet_recipes import IMAGENET_RECIPES
from axial_deeplab.training.kinds import AnyRecipe
from axial_deeplab.training.paper_recipes import PAPER_RECIPES


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
    Cost: six and a half minutes on an H100, one with `cuda_graph`.
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


def camvid_axial_deeplab_s() -> Recipe:
    """Segment street frames, 320x240: eight stuff classes, and things that are connected components, so not quite objects.

    Settings of targets and post-processing are those that `dataset check` derives from the labels.
    Source: protocol of our own on CamVid (Brostow et al., 2009). Published: none.
    Measured: PQ 34.8, things 23.4, stuff 39.1, mIoU 48.1; 2026-11-26.
    Cost: two and a half minutes on an H100 with `cuda_graph`.
    Command: axial-deeplab train camvid_axial_deeplab_s --data.root PATH --output runs/camvid
    """
    return Recipe(
        name="camvid_axial_deeplab_s",
        model=ModelConfig("axial_deeplab_s", norm_momentum=0.05),
        data=DataConfig("coco_panoptic", workers=8),
        augment=AugmentConfig((241, 321), min_scale=0.75, max_scale=1.5, color_jitter=0.2),
        targets=TargetConfig(sigma=2.5, small_instance_area=250, small_instance_weight=3.0),
        postprocess=PostprocessConfig(nms_kernel=7, stuff_area_limit=6),
        loss=LossConfig(offset=0.03),
        optimizer=OptimizerConfig("adam", lr=1.5e-3, warmup=200, clip_norm=10.0),
        iterations=2_000,
        batch_size=32,
        reference_batch=32,
        ema_decay=0.998,
        val_every=1_000,
    )


def camvid_panoptic_deeplab_resnet50() -> Recipe:
    """Run the convolutional baseline, ResNet-50 with ASPP, on the same terms as `camvid_axial_deeplab_s`.

    Source: as there. Published: none.
    Measured: PQ 39.1, things 25.9, stuff 44.1, mIoU 52.0; 2026-11-26.
    Cost: three and a half minutes on an H100.
    Command: axial-deeplab train camvid_panoptic_deeplab_resnet50 --data.root PATH --output runs/camvid-r50
    """
    return _replace_model(camvid_axial_deeplab_s(), "camvid_panoptic_deeplab_resnet50", "panoptic_deeplab_resnet50")


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


_OWN: dict[str, Callable[[], AnyRecipe]] = {
    recipe.__name__: recipe
    for recipe in (
        scenes_small,
        nuclei_axial_deeplab_s,
        nuclei_panoptic_deeplab_resnet50,
        nuclei_panoptic_deeplab_resnet50_projection,
        camvid_axial_deeplab_s,
        camvid_panoptic_deeplab_resnet50,
        coco_overfit,
    )
}

RECIPES: dict[str, Callable[[], AnyRecipe]] = {**_OWN, **FLOWER_RECIPES, **PAPER_RECIPES, **IMAGENET_RECIPES}
"""dict: Every experiment; `axial-deeplab train NAME` runs it."""
