"""What makes a checkpoint folder a model folder of Hugging Face: fields of `config.json`, and `preprocessor_config.json`.

Both follow from the checkpoint config alone, so nothing of transformers is needed to write or to check them; the classes that
read them are in `axial_deeplab.huggingface`.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from axial_deeplab.errors import InputError
from axial_deeplab.records import Category
from axial_deeplab.serialization import to_plain

if TYPE_CHECKING:
    from axial_deeplab.checkpoints.load import CheckpointConfig

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"

MODEL_TYPES = {"panoptic": "axial_deeplab", "classification": "axial_deeplab_classifier"}
"""dict: By task, what transformers looks a config class up by."""

ARCHITECTURES = {
    "panoptic": "AxialDeepLabForUniversalSegmentation",
    "classification": "AxialDeepLabForImageClassification",
}
"""dict: By task, the class of the model."""

PROCESSORS = {"panoptic": "AxialDeepLabImageProcessor", "classification": "AxialDeepLabClassifierImageProcessor"}
"""dict: By task, the class of the image processor."""

_RENAMED = {"mean": "image_mean", "std": "image_std"}  # as all image processors have it
_WRITTEN = ("model_type", "architectures", "id2label", "label2id")
_HARMLESS = ("transformers_version", "dtype")  # other tools add them; here, weights are loaded as float32


def describe_for_transformers(config: "CheckpointConfig") -> dict[str, Any]:
    """Return the fields of `config.json` that transformers reads beside ours: class of the model and names of its outputs."""
    names = [category.name for category in config.categories]
    return {
        "model_type": MODEL_TYPES[config.task],
        "architectures": [ARCHITECTURES[config.task]],
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }


def split_fields(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the values of a `config.json` into our fields and those of transformers."""
    theirs = {name: values[name] for name in (*_WRITTEN, *_HARMLESS) if name in values}
    return {name: value for name, value in values.items() if name not in theirs}, theirs


def describe_processor(config: "CheckpointConfig") -> dict[str, Any]:
    """Return what the image processor must know, the content of `preprocessor_config.json`."""
    values = to_plain(config.preprocess)
    described: dict[str, Any] = {"image_processor_type": PROCESSORS[config.task]}
    described |= {_RENAMED.get(name, name): value for name, value in values.items()}
    if config.task == "panoptic":
        described["postprocess"] = to_plain(config.postprocess)
        described["is_thing"] = [category.is_thing for category in config.categories]
        described["void_class"] = config.void_class
    return described


def check_hub_files(folder: Path, config: "CheckpointConfig") -> None:
    """Compare what transformers reads in a checkpoint folder with what it follows from; what is absent does not count.

    Raises:
        InputError: If something was changed by hand: transformers and this package would not do the same.
    """
    theirs = split_fields(json.loads((folder / CONFIG).read_text(encoding="utf-8")))[1]
    expected = describe_for_transformers(config)
    for name in _WRITTEN:
        if name in theirs and theirs[name] != expected[name]:
            raise InputError(f"{folder / CONFIG}: {name} does not follow from task and categories: remove {name}")
    path = folder / PROCESSOR
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not JSON ({error}): remove it") from None
    for name, value in describe_processor(config).items():
        if not isinstance(values, dict) or values.get(name) != value:
            raise InputError(f"{path}: {name} is not what {CONFIG} says: change it there, and remove {PROCESSOR}")


def rename_categories(categories: tuple[Category, ...], names: dict[int, str]) -> tuple[Category, ...]:
    """Return the categories with the names that `id2label` gives them.

    Raises:
        InputError: If these are more or fewer classes.
    """
    if sorted(names) != list(range(len(categories))):
        raise InputError(f"id2label has {len(names)} classes, the network {len(categories)}")
    return tuple(category._replace(name=names[number]) for number, category in enumerate(categories))
