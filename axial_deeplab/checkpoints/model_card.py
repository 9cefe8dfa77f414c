"""The model card, `README.md` of a checkpoint folder: what the network is, its training, its scores, how to use it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from axial_deeplab.data.files import write_atomic

if TYPE_CHECKING:
    from axial_deeplab.checkpoints.load import CheckpointConfig

CARD = "README.md"

MARK = (
    "<!-- Written by axial-deeplab, and written anew with the checkpoint. Remove this line to keep your own text. -->"
)
"""str: A card without this line is somebody's own and stays as it is."""

_NAMES = {"pq": "PQ", "sq": "SQ", "rq": "RQ", "miou": "mIoU", "top1": "top-1", "top5": "top-5"}

_USAGE = {
    "panoptic": """import axial_deeplab

predictor = axial_deeplab.load("FOLDER")  # or "hf://USER/REPOSITORY"
prediction = predictor("photo.png")  # .panoptic_map, .segments""",
    "classification": """import axial_deeplab

predictor = axial_deeplab.load("FOLDER")  # or "hf://USER/REPOSITORY"
prediction = predictor("photo.png")  # .names and .probabilities, the likeliest first""",
}

_PIPELINES = {"panoptic": "image-segmentation", "classification": "image-classification"}


def write_card(folder: Path, config: "CheckpointConfig", num_values: int) -> None:
    """Write the card, unless the folder has one that somebody wrote.

    Raises:
        InputError: If it cannot be written.
    """
    path = folder / CARD
    if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return
    text = format_card(config, num_values)
    write_atomic(path, lambda file: file.write(text.encode()))


def format_card(config: "CheckpointConfig", num_values: int) -> str:
    """Describe a checkpoint in Markdown, with the header that the Hub reads.

    Args:
        config: Of the checkpoint.
        num_values: How many its weights and running statistics are.
    """
    pipeline = _PIPELINES[config.task]
    licence, licence_note = _find_licence(config)
    header = ["---", "library_name: transformers", f"pipeline_tag: {pipeline}"]
    header += [f"license: {licence}"] if licence else []
    header += ["tags:", "- axial-deeplab", f"- {pipeline}", "---"]
    names = [category.name for category in config.categories]
    lines = [
        *header,
        MARK,
        "",
        f"# {config.model}",
        "",
        f"{_describe_task(config)}, {num_values / 1e6:.2f} M values. Source of the method: Axial-DeepLab, arXiv 2003.07853.",
        "",
        "```python",
        _USAGE[config.task],
        "```",
        "",
        "With transformers (`pip install 'axial-deeplab[hf]'`):",
        "",
        "```python",
        "import axial_deeplab.huggingface",
        "from transformers import pipeline",
        "",
        f'{pipeline.split("-")[1]} = pipeline("{pipeline}", model="FOLDER")',
        "```",
        "",
        "## Classes",
        "",
        ", ".join(names),
        "",
        "## Training",
        "",
        *_describe_recipe(config.recipe),
        "",
        "## Scores",
        "",
        *_describe_scores(config),
        "",
        "## Licence",
        "",
        licence_note,
        "",
    ]
    return "\n".join(lines)


def _describe_task(config: "CheckpointConfig") -> str:
    if config.task == "classification":
        return f"Image classification, {len(config.categories)} classes"
    things = sum(category.is_thing for category in config.categories)
    return f"Panoptic segmentation, {things} classes of things and {len(config.categories) - things} of stuff"


def _find_licence(config: "CheckpointConfig") -> tuple[str | None, str]:
    """Return the identifier of the weights' licence, None if it is not known, and what is known in words."""
    imported = config.recipe.get("imported", {})
    if "licence" in imported:
        licence = str(imported["licence"])
        return licence.lower(), f"{licence}, that of the repository which publishes the original weights."
    return None, "Not stated: whoever publishes these weights chooses one that the training data allow."


def _describe_recipe(recipe: dict[str, Any]) -> list[str]:
    """Say where the weights come from, and give the recipe whole, without the folder of the data."""
    if not recipe:
        return ["Not recorded."]
    if "imported" in recipe:
        sentence = "Imported from weights of a public implementation."
    else:
        data = recipe.get("data", {})
        trained = [str(data[name]) for name in ("dataset", "train_split") if data.get(name)]
        sentence = f"Recipe `{recipe.get('name')}`, data: {', '.join(trained) or 'not recorded'}."
    shown = {name: _without_root(value) if name == "data" else value for name, value in recipe.items()}
    return [sentence, "", "```json", json.dumps(shown, indent=2, ensure_ascii=False), "```"]


def _without_root(data: Any) -> Any:
    return {name: value for name, value in data.items() if name != "root"} if isinstance(data, dict) else data


def _describe_scores(config: "CheckpointConfig") -> list[str]:
    """Give the scores of the validation split in percent, and those that the origin of the weights states."""
    rows = [("all", name, value) for name, value in config.measured.items() if name in _NAMES]
    for group, scores in config.measured.items():
        if isinstance(scores, dict) and group != "per_class":
            rows += [(group.lower(), name, value) for name, value in scores.items() if name in _NAMES]
    table = [f"| {group} | {_NAMES[name]} | {100 * value:.1f} |" for group, name, value in rows if value is not None]
    published: dict[str, float] = config.recipe.get("imported", {}).get("published", {})
    if published:
        stated = ", ".join(f"{_NAMES.get(name, name)} {value}" for name, value in published.items())
        return [f"Published by the owner of the original weights, not measured with these: {stated}."]
    if not table:
        return ["Not measured."]
    split = config.recipe.get("data", {}).get("val_split")
    return [
        f"On the split `{split}`:" if split else "On validation data:",
        "",
        "| of | measure | % |",
        "|---|---|---|",
        *table,
    ]
