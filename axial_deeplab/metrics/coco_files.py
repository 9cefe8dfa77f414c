"""Score a COCO results file against a COCO instances file, with the polygons of the truth as the evaluator fills them."""

from pathlib import Path
from typing import Any

from axial_deeplab.data.coco_results import read_instance_results
from axial_deeplab.data.convert.json_file import read_object, take
from axial_deeplab.errors import InputError
from axial_deeplab.metrics.coco_average_precision import CocoPrecisionReport, evaluate_instances
from axial_deeplab.records import Category


def read_instances(path: Path) -> dict[str, Any] | None:
    """Return the content of a COCO instances file, None if it is one of panoptic annotations.

    Raises:
        InputError: It is absent, no JSON, or malformed; names the entry.
    """
    content = read_object(path)
    entries = {key: take(content, key, list, str(path)) for key in ("categories", "annotations", "images")}
    if any("segments_info" in entry for entry in entries["annotations"][:1] if isinstance(entry, dict)):
        return None
    keys: dict[str, dict[str, Any]] = {
        "categories": {"id": int, "name": str},
        "annotations": {
            "id": int,
            "image_id": int,
            "category_id": int,
            "segmentation": (list, dict),
            "area": (int, float),
        },
        "images": {"id": int, "height": int, "width": int},
    }
    for name, kinds in keys.items():
        for number, entry in enumerate(entries[name]):
            for key, kind in kinds.items():
                take(entry, key, kind, f"{path}, {name} {number}")
    for entry in entries["annotations"]:
        entry.setdefault("iscrowd", 0)
    return entries


def score_instances(truth: dict[str, Any], results: Path) -> CocoPrecisionReport:
    """Score results against the content of an instances file, which is changed on the way.

    Raises:
        InputError: The results cannot be read, or belong to other images; or faster-coco-eval is not installed.
    """
    categories = [Category(entry["id"], entry["name"], True) for entry in truth["categories"]]
    categories.sort(key=lambda category: category.id)
    found = read_instance_results(results, categories)
    known = {entry["id"] for entry in truth["images"]}
    if unknown := [image_id for image_id in found if image_id not in known]:
        raise InputError(
            f"{results}: the image {unknown[0]!r} is not in the truth: score against the truth of its split"
        )
    entries = [
        {
            "image_id": image_id,
            "category_id": categories[instance.segment.category_id].id,
            "segmentation": {"size": list(instance.size), "counts": instance.runs},
            "score": instance.segment.score,
        }
        for image_id, instances in found.items()
        for instance in instances
    ]
    return evaluate_instances(truth, entries, categories)
