"""The public surface, frozen: a new name is a decision."""

import pytest

import axial_deeplab
import axial_deeplab.checkpoints
import axial_deeplab.layers


def test_package() -> None:
    assert sorted(axial_deeplab.__all__) == [
        "AxialAttention",
        "Category",
        "ClassPredictor",
        "ClassificationPrediction",
        "InputError",
        "MODELS",
        "PanopticOutput",
        "PanopticPrediction",
        "Predictor",
        "Segment",
        "axial_resnet50_s",
        "build_model",
        "load",
    ]


def test_checkpoints() -> None:
    assert sorted(axial_deeplab.checkpoints.__all__) == [
        "CheckpointConfig",
        "from_deeplab2",
        "from_official_pytorch",
        "load_checkpoint",
        "save_checkpoint",
    ]


def test_huggingface() -> None:
    huggingface = pytest.importorskip("axial_deeplab.huggingface", reason="needs the extra 'hf'", exc_type=ImportError)
    assert sorted(huggingface.__all__) == [
        "AxialDeepLabClassifierConfig",
        "AxialDeepLabClassifierImageProcessor",
        "AxialDeepLabConfig",
        "AxialDeepLabForImageClassification",
        "AxialDeepLabForUniversalSegmentation",
        "AxialDeepLabImageProcessor",
        "AxialDeepLabOutput",
    ]
    assert all(getattr(huggingface, name) is not None for name in huggingface.__all__)


def test_layers() -> None:
    assert sorted(axial_deeplab.layers.__all__) == ["AxialAttention", "BatchNorm", "freeze_norms", "synchronize_norms"]


def test_every_name_is_there() -> None:
    for module in (axial_deeplab, axial_deeplab.checkpoints, axial_deeplab.layers):
        assert all(getattr(module, name) is not None for name in module.__all__)
