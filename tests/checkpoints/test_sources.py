"""What training can start from is recognized; anything else is refused in one line, and no code in it runs."""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from axial_deeplab.checkpoints.load import TRAINER_KEY, load_checkpoint
from axial_deeplab.checkpoints.sources import read_source
from axial_deeplab.errors import InputError
from axial_deeplab.serialization import to_plain
from tests.checkpoints.checkpoint_files import make_resnet_weights, save_network


def run_resnet(weights: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """Compute the four stages of a ResNet from torchvision's names alone: the stride is in the 3x3 convolution."""

    def convolve(x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = weights[f"{conv}.weight"]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-5).sqrt()
        shift = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = F.max_pool2d(convolve(x, "conv1", "bn1", 2).relu(), 3, 2, 1)
    features = []
    for stage in range(1, 5):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in weights:
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            branch = convolve(x, f"{name}.conv1", f"{name}.bn1").relu()
            branch = convolve(branch, f"{name}.conv2", f"{name}.bn2", stride).relu()
            branch = convolve(branch, f"{name}.conv3", f"{name}.bn3")
            if block == 0:
                x = convolve(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = (x + branch).relu()
            block += 1
        features.append(x)
    return features


@pytest.mark.parametrize("wrap", [False, True])
def test_plain_resnet_computes_what_its_names_say(tmp_path: Path, wrap: bool) -> None:
    weights = make_resnet_weights()
    content = {"state_dict": {f"module.{name}": value for name, value in weights.items()}, "epoch": 3}
    torch.save(content if wrap else weights, tmp_path / "resnet50.pth")
    source = read_source(tmp_path / "resnet50.pth")
    images = torch.randn(1, 3, 65, 49)
    with torch.no_grad():
        found = source.encoder(images)
    for ours, expected in zip(found.values(), run_resnet(weights, images), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    used = sum(not name.endswith("num_batches_tracked") for name in weights)
    assert len(source.weights) == used  # each variable exactly once
    assert torch.equal(source.weights["fc.weight"], weights["fc.weight"])


def test_safetensors_without_a_classifier_and_with_leftovers(tmp_path: Path) -> None:
    weights = make_resnet_weights((1, 1, 1, 1))
    del weights["fc.weight"], weights["fc.bias"]
    save_file(weights | {"projector.weight": torch.zeros(2)}, tmp_path / "small.safetensors")
    source = read_source(tmp_path / "small.safetensors")
    assert [name for name in source.weights if not name.startswith("encoder.")] == ["projector.weight"]


def test_file_of_the_trainer_is_a_checkpoint(tmp_path: Path) -> None:
    network, config = load_checkpoint(save_network(tmp_path / "folder", "axial_deeplab_nano", "sky", "road"))
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, TRAINER_KEY: to_plain(config)}, tmp_path / "best.ckpt")
    source = read_source(tmp_path / "best.ckpt")
    assert source.config == config
    assert source.weights.keys() == network.state_dict().keys()


class Code:
    """Runs a command where a pickle is trusted."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save(make_resnet_weights((1, 1, 1, 1)) | {"extra": Code(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="no file of PyTorch tensors") as error:
        read_source(tmp_path / "evil.pth")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_foreign_and_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    weights = make_resnet_weights((1, 1, 1, 1))
    torch.save(weights, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:100_000])
    (tmp_path / "text.pth").write_text("no tensors")
    torch.save({"a": torch.zeros(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "flipped.pth").write_bytes((tmp_path / "old.pth").read_bytes().replace(b"storage", b"st\xffrage"))
    (tmp_path / "text.safetensors").write_text("no tensors")
    torch.save({name: value for name, value in weights.items() if ".conv3." not in name}, tmp_path / "basic.pth")
    torch.save({name: value for name, value in weights.items() if name != "bn1.bias"}, tmp_path / "lacks.pth")
    torch.save(weights | {"layer2.0.conv2.weight": torch.zeros(128, 4, 3, 3)}, tmp_path / "resnext.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    expected = {
        "absent.pth": "does not exist",
        "cut.pth": "damaged",
        "text.pth": "damaged",
        "flipped.pth": "damaged",
        "text.safetensors": "cannot be read as safetensors",
        "basic.pth": "no ResNet-50 either",
        "lacks.pth": "stem.0.norm.bias is missing",
        "resnext.pth": r"stages.1.0.conv.conv.weight has shape \[128, 4, 3, 3\], not \[128, 128, 3, 3\]",
        "list.pth": "holds a list",
    }
    for name, message in expected.items():
        with pytest.raises(InputError, match=message) as error:
            read_source(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)
