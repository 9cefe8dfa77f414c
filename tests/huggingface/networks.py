"""Checkpoints with random weights that see many segments, and pictures to show them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from axial_deeplab.checkpoints.load import CheckpointConfig, build_network, save_checkpoint
from axial_deeplab.data.scenes import SCENE_CATEGORIES
from axial_deeplab.data.transforms import Preprocess, prepare
from axial_deeplab.models.hybrid_resnet import plan_bottleneck_encoder
from axial_deeplab.models.planned import PanopticPlan
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.predict import to_tensor
from axial_deeplab.records import Category
from axial_deeplab.serialization import from_plain, to_plain

HYBRID = PanopticPlan(plan_bottleneck_encoder(0.5, axial_beyond=16, drop_path=0.2), head_channels=(64, 32, 32))
"""PanopticPlan: MaX-DeepLab-S' trunk at half its width, which has no name."""

VOID = Category(0, "void", False)


def make_config(model: str = "axial_deeplab_nano", *, longest_side: int | None = None) -> CheckpointConfig:
    """Describe a network of the classes of scenes; a hybrid gets void as its first class."""
    hybrid = model == "deeplab2_described"
    return CheckpointConfig(
        model=model,
        categories=((VOID,) if hybrid else ()) + SCENE_CATEGORIES,
        preprocess=to_plain(Preprocess(longest_side=longest_side, mean=(0.5, 0.4, 0.3), std=(0.3, 0.3, 0.3))),
        postprocess=to_plain(PostprocessConfig(nms_kernel=5, center_threshold=0.3, stuff_area_limit=8)),
        void_class=0 if hybrid else None,
        architecture=to_plain(HYBRID) if hybrid else None,
        recipe={"name": "test", "data": {"dataset": "scenes", "root": "/secret", "val_split": "val"}},
        measured={"All": {"pq": 0.51234, "n": 6}, "per_class": {"0": {"pq": 0.1}}},
    )


@torch.no_grad()
def make_network(config: CheckpointConfig) -> nn.Module:
    """Build a network that gives every class some pixels of `draw_picture`, and some centers."""
    torch.manual_seed(0)
    model = build_network(config, where="test").eval()
    pixels, _ = prepare(to_tensor(draw_picture()), from_plain(Preprocess, config.preprocess, where="test"))
    output = model(pixels[None])
    for head, values, spread, mean in (
        (model.semantic_head, output.semantic_logits, 3.0, 0.0),
        (model.center_head, output.center_heatmap, 0.2, 0.2),
    ):
        scale = spread / values.std((0, 2, 3))
        head.predict.weight.mul_(scale[:, None, None, None])
        head.predict.bias.copy_(mean - scale * values.mean((0, 2, 3)))
    return model


def save(folder: Path, config: CheckpointConfig) -> Path:
    """Write a checkpoint of that kind."""
    save_checkpoint(folder, make_network(config), config)
    return folder


def draw_picture(height: int = 61, width: int = 83, seed: int = 0) -> Image.Image:
    """Draw colored noise in blobs."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)
