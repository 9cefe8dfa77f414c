"""Weights on disk: checkpoints of this package, and those of the public implementations, whose names only this folder knows."""

from axial_deeplab.checkpoints.deeplab2 import from_deeplab2
from axial_deeplab.checkpoints.load import CheckpointConfig, load_checkpoint, save_checkpoint
from axial_deeplab.checkpoints.official_pytorch import from_official_pytorch

__all__ = ["CheckpointConfig", "from_deeplab2", "from_official_pytorch", "load_checkpoint", "save_checkpoint"]
