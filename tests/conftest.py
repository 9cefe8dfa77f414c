"""Fixtures shared by all tests: where the golden outputs and the real images are, if they are there."""

import os
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when triton is imported, by whomever

SHARED = Path(__file__).resolve().parents[2] / "shared"


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
