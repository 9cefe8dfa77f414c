"""Check an installed wheel the way a user meets it: list the models, save a checkpoint, segment a picture."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import axial_deeplab
from axial_deeplab.checkpoints import CheckpointConfig, save_checkpoint
from axial_deeplab.data.scenes import SCENE_CATEGORIES
from axial_deeplab.data.transforms import Preprocess
from axial_deeplab.panoptic.postprocess import PostprocessConfig
from axial_deeplab.serialization import to_plain


def main() -> None:
    command = str(Path(sys.executable).with_name("axial-deeplab"))
    subprocess.run([command, "models"], check=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = CheckpointConfig(
            model="axial_deeplab_nano",
            categories=SCENE_CATEGORIES,
            preprocess=to_plain(Preprocess()),
            postprocess=to_plain(PostprocessConfig()),
        )
        model = axial_deeplab.build_model(config.model, len(SCENE_CATEGORIES))
        save_checkpoint(folder / "checkpoint", model, config)
        pixels = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "picture.png")
        arguments = ["predict", str(folder / "picture.png"), "--checkpoint", str(folder / "checkpoint")]
        subprocess.run([command, *arguments, "--output", str(folder / "out")], check=True)
        assert (folder / "out" / "overlays" / "picture.png").is_file()
        assert (folder / "out" / "predictions.json").is_file()
    print("the wheel lists models and predicts")


if __name__ == "__main__":
    main()
