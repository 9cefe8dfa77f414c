"""Samples of classification: damaged images among those to learn from."""

from pathlib import Path

import pytest
import torch

from axial_deeplab.cli import main
from axial_deeplab.data.classification.augment import ClassAugmentConfig
from axial_deeplab.data.classification.image_tree import ImageTree
from axial_deeplab.data.classification.splits import open_classified
from axial_deeplab.training.class_data_module import ClassDataModule, ClassSamples, collate_images
from axial_deeplab.training.recipes import RECIPES
from tests.training.class_images import write_images


def test_a_damaged_image_is_reported_once_and_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_images(tmp_path)
    (root / "train" / "green" / "1.png").write_bytes(b"\x89PNG no more")
    samples = ClassSamples(ImageTree(root, "train"), ClassAugmentConfig(crop=16), seed=0)
    module = ClassDataModule(*open_classified(root, "train", "val"), RECIPES["flowers5_resnet50"]())
    for epoch in range(2):
        batch = collate_images([samples[number] for number in range(9 * epoch, 9 * epoch + 9)])
        assert batch.file_names.count("green/2.png") == 2
        assert batch.images.shape == (9, 3, 16, 16)
        assert module.on_after_batch_transfer(batch, 0).images.dtype == torch.float32
    assert capsys.readouterr().err.count("green/1.png") == 1


@pytest.mark.parametrize("fault", ["empty", "unequal"])
def test_folders_at_fault_end_training_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    root = write_images(tmp_path / "images")
    (root / "train" / "yellow").mkdir()
    if fault == "unequal":
        (root / "train" / "red" / "0.png").rename(root / "train" / "yellow" / "0.png")
    command = ["train", "flowers5_resnet50", "--data.root", str(root), "--output", str(tmp_path / "run")]
    assert main(command) == 2
    error = capsys.readouterr().err.strip()
    assert ("yellow has no image" if fault == "empty" else "only train has yellow") in error
    assert "\n" not in error
