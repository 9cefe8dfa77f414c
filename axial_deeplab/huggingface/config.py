"""The checkpoint config as a config of transformers."""

from dataclasses import fields, replace
from typing import Any

from transformers import PreTrainedConfig

from axial_deeplab.checkpoints.hub_files import describe_for_transformers, rename_categories
from axial_deeplab.checkpoints.load import CheckpointConfig, read_config
from axial_deeplab.errors import InputError
from axial_deeplab.serialization import to_plain

_FIELDS = {field.name for field in fields(CheckpointConfig)}


class AxialDeepLabConfig(PreTrainedConfig):
    """A network that segments images. `save_pretrained` writes the `config.json` that it was read from.

    Args:
        kwargs: The fields of `checkpoints.CheckpointConfig` as plain values, and what `PreTrainedConfig` takes.

    Raises:
        InputError: If they make no checkpoint config, or one for another task.
    """

    model_type = "axial_deeplab"
    has_no_defaults_at_init = True
    task = "panoptic"

    def __init__(self, **kwargs: Any) -> None:
        values = {name: kwargs.pop(name) for name in list(kwargs) if name in _FIELDS}
        checkpoint = read_config(values, where=type(self).__name__)
        if checkpoint.task != type(self).task:
            raise InputError(f"{type(self).__name__} is for the task {type(self).task}, not {checkpoint.task}")
        count = len(checkpoint.categories)
        if kwargs.pop("num_labels", count) != count:
            raise InputError(f"{checkpoint.model} has {count} classes: train RECIPE --init gives a network others")
        self._checkpoint = checkpoint
        super().__init__(**describe_for_transformers(checkpoint) | kwargs)

    def to_checkpoint(self) -> CheckpointConfig:
        """Return the checkpoint config, with the names that `id2label` gives the classes now."""
        categories = rename_categories(self._checkpoint.categories, self.id2label)
        return replace(self._checkpoint, categories=categories)

    def to_dict(self) -> dict[str, Any]:
        """Return the values of `config.json`."""
        checkpoint = self.to_checkpoint()
        return to_plain(checkpoint) | describe_for_transformers(checkpoint)

    def to_diff_dict(self) -> dict[str, Any]:
        """Return the values of `config.json`: none is left out because it equals a default."""
        return self.to_dict()


class AxialDeepLabClassifierConfig(AxialDeepLabConfig):
    """A network that classifies images; otherwise as `AxialDeepLabConfig`."""

    model_type = "axial_deeplab_classifier"
    task = "classification"
    __init__ = AxialDeepLabConfig.__init__  # transformers would generate one for a class that defines none
