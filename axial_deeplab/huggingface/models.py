"""The networks as models of transformers. Files on disk have our names for the weights, without a prefix."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from huggingface_hub import HfApi
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.utils import ModelOutput

from axial_deeplab.checkpoints.load import build_network, save_weights
from axial_deeplab.errors import InputError
from axial_deeplab.huggingface.config import AxialDeepLabClassifierConfig, AxialDeepLabConfig


@dataclass
class AxialDeepLabOutput(ModelOutput):
    """The heads, at the size of the input: `records.PanopticOutput` as transformers has it."""

    semantic_logits: Tensor | None = None  # [batch, class, height, width]
    center_heatmap: Tensor | None = None  # [batch, 1, height, width], raw, about 0..1
    offset: Tensor | None = None  # [batch, 2, height, width], (y, x), center - pixel, in pixels


class CheckpointModel(PreTrainedModel):
    """What the models of both tasks share: the network of a checkpoint folder, which is written as `save_checkpoint` does.

    Attributes:
        network: The network itself.
    """

    base_model_prefix = "network"  # transformers adds it to names in a file that lack it
    main_input_name = "pixel_values"
    config: AxialDeepLabConfig

    def __init__(self, config: AxialDeepLabConfig) -> None:
        super().__init__(config)
        self.network: nn.Module = build_network(config.to_checkpoint(), where=type(config).__name__)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Do what `PreTrainedModel.from_pretrained` does, but take no file whose weights are not exactly the network's.

        Raises:
            InputError: If weights are missing or left over, which transformers itself only reports.
        """
        wants_info = kwargs.pop("output_loading_info", False)
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        for kind in ("missing_keys", "unexpected_keys"):
            if names := sorted(info[kind]):
                raise InputError(f"the weights do not fit the network: {len(names)} {kind} ({names[0]}, ...)")
        return (model, info) if wants_info else model

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """Write the whole checkpoint folder: weights, config, image processor and model card.

        Args:
            save_directory: The folder.
            is_main_process: Whether to write at all.
            state_dict: Weights in the place of the model's own.
        """
        if not is_main_process:
            return
        weights = {name.removeprefix("network."): value for name, value in (state_dict or self.state_dict()).items()}
        save_weights(save_directory, weights, self.config.to_checkpoint())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str = "Upload checkpoint",
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Upload the checkpoint folder, its model card included, to the Hub; the repository is made if it is not there.

        Returns:
            The address of the commit.
        """
        api = HfApi(token=token)
        repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            commit = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                commit_message=commit_message,
                revision=revision,
                create_pr=create_pr,
            )
        return str(commit.commit_url)

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the weights as the network itself made them."""

    def _require_trained(self) -> None:
        untrained = self.config.to_checkpoint().untrained
        if untrained and not self.training:
            parts = ", ".join(untrained)
            raise InputError(f"the network has random weights in {parts}: fine-tune it with train RECIPE --init")


class AxialDeepLabForUniversalSegmentation(CheckpointModel):
    """A network that segments images; `AxialDeepLabImageProcessor` is what lies before and behind it."""

    config_class = AxialDeepLabConfig

    def forward(self, pixel_values: Tensor) -> AxialDeepLabOutput:
        """Return the heads for normalised images [batch, 3, height, width]."""
        self._require_trained()
        return AxialDeepLabOutput(*self.network(pixel_values))


class AxialDeepLabForImageClassification(CheckpointModel):
    """A network that classifies images."""

    config_class = AxialDeepLabClassifierConfig

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutput:
        """Return logits [batch, class] for normalised images, and with `labels`, int64 [batch], the cross entropy."""
        self._require_trained()
        logits = self.network(pixel_values)
        loss = None if labels is None else F.cross_entropy(logits.float(), labels)
        return ImageClassifierOutput(loss=loss, logits=logits)
