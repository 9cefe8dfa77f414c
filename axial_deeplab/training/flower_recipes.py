"""Five classes of flowers from scratch: one protocol for three networks, so that only the network differs."""

from collections.abc import Callable
from dataclasses import replace

from axial_deeplab.data.classification.augment import ClassAugmentConfig
from axial_deeplab.data.classification.preprocess import ClassPreprocess
from axial_deeplab.training.class_config import ClassDataConfig, ClassificationRecipe
from axial_deeplab.training.config import ModelConfig, OptimizerConfig


def flowers5_axial_resnet50_s() -> ClassificationRecipe:
    """Tell five flowers apart with Axial-ResNet-S: 2931 photographs to learn from, 736 to score, short side 144.

    Source: protocol of our own on five classes of TensorFlow's flower photographs (CC BY 2.0). Published: none.
    Measured: not yet.
    Cost: not yet measured.
    Command: axial-deeplab train flowers5_axial_resnet50_s --data.root PATH --output runs/flowers5
    """
    return ClassificationRecipe(
        name="flowers5_axial_resnet50_s",
        model=ModelConfig("axial_resnet50_s"),
        data=ClassDataConfig(workers=12),
        augment=ClassAugmentConfig(crop=128, min_area=0.25, color_jitter=0.2),
        preprocess=ClassPreprocess(resize=144, crop=128),
        optimizer=OptimizerConfig("sgd", lr=0.05, weight_decay=5e-4, warmup=300, schedule="cosine", clip_norm=5.0),
        label_smoothing=0.1,
        iterations=3_000,
        batch_size=64,
        reference_batch=64,
        ema_decay=0.998,
        val_every=500,
    )


def flowers5_resnet50() -> ClassificationRecipe:
    """Run ResNet-50 on the same terms as `flowers5_axial_resnet50_s`.

    Source: as there. Published: none.
    Measured: not yet.
    Cost: not yet measured.
    Command: axial-deeplab train flowers5_resnet50 --data.root PATH --output runs/flowers5-r50
    """
    return _replace_model("flowers5_resnet50", "resnet50")


def flowers5_sasa_resnet50() -> ClassificationRecipe:
    """Run stand-alone self-attention in 7x7 windows on the same terms as `flowers5_axial_resnet50_s`.

    Source: as there. Published: none.
    Measured: not yet.
    Cost: not yet measured.
    Command: axial-deeplab train flowers5_sasa_resnet50 --data.root PATH --output runs/flowers5-sasa
    """
    return _replace_model("flowers5_sasa_resnet50", "sasa_resnet50")


def _replace_model(name: str, model: str) -> ClassificationRecipe:
    return replace(flowers5_axial_resnet50_s(), name=name, model=ModelConfig(model))


FLOWER_RECIPES: dict[str, Callable[[], ClassificationRecipe]] = {
    recipe.__name__: recipe for recipe in (flowers5_axial_resnet50_s, flowers5_resnet50, flowers5_sasa_resnet50)
}
