"""Fixtures shared by all tests: where the golden outputs and the real images are, if they are there, and where a test runs."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from tests.golden_place import Place

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported, by whomever

SHARED = Path(os.environ.get("AXIAL_DEEPLAB_SHARED") or Path(__file__).resolve().parents[2] / "shared")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Keep small tensors on one thread: workers of pytest-xdist share the cores."""
    torch.set_num_threads(1)


def _find(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"{path} is absent: the {name} files are not part of the repository")
    return path


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder with outputs of the public implementations, or skip."""
    return _find("golden")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder with real images, or skip."""
    return _find("data")


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ]
)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Place]":
    """Return where a golden test runs: on the CPU, and on a GPU through the fused kernels."""
    from tests.golden_place import Place, forbid_tf32  # after the interpreter is switched on

    with forbid_tf32():
        yield Place(request.param, monkeypatch)
