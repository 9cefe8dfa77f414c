"""Whole models against the outputs of the public implementations, through the two public loaders."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from axial_deeplab.checkpoints.deeplab2 import from_deeplab2
from axial_deeplab.checkpoints.official_pytorch import from_official_pytorch
from axial_deeplab.inference import InferenceConfig, infer
from axial_deeplab.models import count_parameters
from axial_deeplab.panoptic.postprocess import PostprocessConfig, postprocess
from tests.golden_assert import assert_close, get_entry
from tests.golden_place import Place
from tests.golden_rule import draw_tensor, load_case


@pytest.mark.parametrize("name", ["axial26s_seed0", "axial50s_seed0"])
def test_authors_classifier(golden: Path, name: str, place: Place) -> None:
    meta, arrays = load_case(golden, f"csr_full_{name}")
    state = {entry["name"]: draw_tensor(entry, meta["seed"]) for entry in meta["variables"]}
    model = place(from_official_pytorch(state))
    assert count_parameters(model) == meta["params_total"]
    images = place(draw_tensor(meta["input"], meta["seed"]))
    with torch.no_grad():
        assert_close(model(images), arrays["eval/logits"], get_entry(meta, "eval/logits"))
    place.assert_fused()


NAMES = [
    "axial_deeplab_s_cityscapes_129x129_seed0",
    "axial_deeplab_s_coco_65x65_seed0",
    "resnet50_coco_129x129_seed0",
    "resnet50_cityscapes_65x97_seed0",
    "max_deeplab_s_backbone_cityscapes_65x97_seed0",
    "axial_swidernet_1_1_1_cityscapes_65x65_seed0",
]


def check_features(encoder: nn.Module, images: Tensor, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Compare the activated map after the stem and after every stage."""
    x = images
    for number, part in enumerate([encoder.stem, *encoder.stages], start=1):
        x = part(x)
        for name in (name for name in arrays if name.startswith(f"encoder/res{number}/")):
            step = int(name.rpartition("sub")[2]) if "/sub" in name else 1
            ours = x.mean((2, 3)) if "spatial_mean" in name else x[:, :, ::step, ::step].permute(0, 2, 3, 1)
            assert_close(ours, arrays[name], get_entry(meta, name))


@pytest.mark.parametrize("name", NAMES)
def test_deeplab2_model(golden: Path, name: str, place: Place) -> None:
    meta, arrays = load_case(golden, f"dl2_full_{name}")
    model = place(from_deeplab2({entry["name"]: draw_tensor(entry, meta["seed"]) for entry in meta["variables"]}))
    assert count_parameters(model) == meta["params_total"]
    images = place(draw_tensor(meta["input"], meta["seed"])).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        check_features(model.encoder, images, meta, arrays)
        heads = model.compute_heads(images)
        output = heads.resize(*meta["input_size"])
    place.assert_fused()
    step = 4 if "coco" in name else 1
    assert_close(
        heads.semantic_logits[:, ::step].permute(0, 2, 3, 1),
        arrays["decoder/semantic_logits"],
        get_entry(meta, "decoder/semantic_logits"),
    )
    assert_close(
        heads.center_heatmap.permute(0, 2, 3, 1),
        arrays["decoder/center_heatmap"],
        get_entry(meta, "decoder/center_heatmap"),
    )
    assert_close(heads.offset.permute(0, 2, 3, 1), arrays["decoder/offset_map"], get_entry(meta, "decoder/offset_map"))
    assert_close(output.center_heatmap[:, 0], arrays["output/center_heatmap"], get_entry(meta, "output/center_heatmap"))
    assert_close(output.offset.permute(0, 2, 3, 1), arrays["output/offset_map"], get_entry(meta, "output/offset_map"))


@pytest.mark.parametrize("name", [*NAMES, "axial_deeplab_s_cityscapes_65x65_seed0_flip"])
def test_panoptic_map(golden: Path, name: str, place: Place) -> None:
    """Images in, label maps out: networks, resizing, averaging with the mirror image, grouping and merging together."""
    meta, arrays = load_case(golden, f"dl2_full_{name}")
    model = place(from_deeplab2({entry["name"]: draw_tensor(entry, meta["seed"]) for entry in meta["variables"]}))
    images = place(draw_tensor(meta["input"], meta["seed"])).permute(0, 3, 1, 2) / 127.5 - 1
    evaluator = meta["evaluator"]
    with torch.no_grad():
        output = infer(model, images, InferenceConfig(flip=evaluator["add_flipped_images"]))
    place.assert_fused()
    step = 4 if "coco" in name else 1
    assert_close(output.center_heatmap[:, 0], arrays["output/center_heatmap"], get_entry(meta, "output/center_heatmap"))
    assert_close(output.offset.permute(0, 2, 3, 1), arrays["output/offset_map"], get_entry(meta, "output/offset_map"))
    probs = output.semantic_logits.softmax(1).permute(0, 2, 3, 1)[:, ::4, ::4, :: 2 * step if step > 1 else 1]
    assert_close(probs, arrays["output/semantic_probs/sub4"], get_entry(meta, "output/semantic_probs/sub4"))
    num_classes = output.semantic_logits.shape[1]
    is_thing = [category in evaluator["thing_ids"] for category in range(num_classes)]
    config = PostprocessConfig(
        evaluator["center_score_threshold"], evaluator["nms_kernel"], evaluator["stuff_area_limit"]
    )
    void = evaluator["ignore_label"]
    (prediction,) = postprocess(output, is_thing, config, void_class=void if void < num_classes else None)
    label, counts = torch.full((prediction.panoptic_map.max() + 1,), void * evaluator["label_divisor"]), Counter[int]()
    for segment in prediction.segments:
        counts[segment.category_id] += segment.is_thing
        number = counts[segment.category_id] if segment.is_thing else 0
        label[segment.id] = segment.category_id * evaluator["label_divisor"] + number
    ours = label[prediction.panoptic_map.long().cpu()].numpy()
    assert (ours == arrays["output/panoptic_pred"][0]).mean() >= 0.999
