"""The benchmark of image loading compares ways that load the same."""

from pathlib import Path

import pytest
import torch

from axial_deeplab.data.classification import decode
from axial_deeplab.data.classification.augment import ClassAugmentConfig
from axial_deeplab.data.classification.image_tree import ImageTree
from axial_deeplab.training.class_data_module import ClassSamples
from benchmarks.image_loading import DECODERS, choose_decoder, measure_parts, measure_rates, write_photographs


def test_decoders_load_the_same_and_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photographs(tmp_path / "train" / "all", 2)
    images = ImageTree(tmp_path, "train")
    loaded, calls = {}, []
    pillow = decode._decode_pillow
    monkeypatch.setattr(decode, "_decode_pillow", lambda data, reduction: calls.append(1) or pillow(data, reduction))
    for decoder in DECODERS:
        with choose_decoder(decoder):
            loaded[decoder] = ClassSamples(images, ClassAugmentConfig(), seed=0)[1].image
        assert len(calls) == (decoder == "Pillow")
    assert torch.equal(loaded["simplejpeg"], loaded["Pillow"])
    assert min(measure_rates({"folder": images}, 1).values()) > 0
    assert min(measure_parts(images, 1).values()) > 0
