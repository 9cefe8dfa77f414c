"""The import table of ARCHITECTURE.md, enforced: who may import whom, and where each optional dependency lives."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "axial_deeplab"

BASE = {"records", "errors"}
MAY_IMPORT = {
    "errors": set(),
    "records": set(),
    "log": {"errors"},
    "serialization": BASE,
    "ops": set(),
    "layers": {"ops"},
    "models": {"layers", "records"},
    "panoptic": BASE,
    "data": BASE | {"panoptic"},
    "metrics": BASE | {"panoptic", "data"},
    "inference": BASE,
    "checkpoints": BASE | {"models", "layers", "serialization", "data"},
    "predict": BASE
    | {"models", "layers", "panoptic", "data", "checkpoints", "visualize", "serialization", "inference"},
    "classify": BASE | {"predict", "checkpoints", "data", "serialization"},
    "loading": BASE | {"predict", "classify", "checkpoints", "inference", "layers"},
    "huggingface": BASE | {"predict", "panoptic", "data", "checkpoints", "serialization"},
    "colors": BASE,
    "visualize": BASE | {"colors", "data", "panoptic"},
    "line_chart": {"colors"},
    "confusion_chart": set(),
    "contact_sheet": BASE | {"colors", "data", "visualize"},
    "report": BASE | {"colors", "data", "metrics", "visualize"},
    "evaluate": BASE | {"predict", "metrics", "report", "data", "panoptic", "checkpoints", "models", "visualize"},
    "evaluate_classes": BASE | {"classify", "confusion_chart", "predict", "metrics", "data"},
    "stress": BASE | {"evaluate", "predict", "metrics", "data", "line_chart"},
    "training": BASE
    | {"models", "layers", "panoptic", "data", "metrics", "checkpoints", "predict", "evaluate", "serialization"},
}
ANYTHING = {"__init__", "__main__", "cli", "commands"}
ONLY_IN = {
    "lightning": {"training"},
    "jsonargparse": {"cli", "commands"},
    "triton": {"ops"},
    "faster_coco_eval": {"metrics"},
    "transformers": {"huggingface"},
    "huggingface_hub": {"checkpoints", "huggingface"},
}


def find_imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def get_area(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_table(path: Path) -> None:
    area = get_area(path)
    for name in find_imports(path):
        parts = name.split(".")
        if parts[0] == "axial_deeplab" and area not in ANYTHING:
            assert parts[1] == area or parts[1] in MAY_IMPORT[area], f"{path.name} may not import {name}"
        if parts[0] in ONLY_IN:
            assert area in ONLY_IN[parts[0]], f"{parts[0]} belongs to {ONLY_IN[parts[0]]}, found in {path.name}"
        assert parts[0] not in {"torchvision", "timm", "tensorflow", "cv2", "scipy"}


def test_import_is_light() -> None:
    heavy = ["lightning", "jsonargparse", "transformers", "triton", "huggingface_hub", "tensorboard", "onnx"]
    code = f"import sys, axial_deeplab; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_layers_need_torch_alone() -> None:
    others = ["PIL", "safetensors", "yaml", "jsonargparse", "lightning", "huggingface_hub"]
    code = f"import sys; sys.modules.update(dict.fromkeys({others})); from axial_deeplab.layers import AxialAttention"
    subprocess.run([sys.executable, "-c", code], check=True)
