"""What `AXIAL_DEEPLAB_LOG` prints."""

import os
import subprocess
import sys

SCRIPT = """
import torch
from axial_deeplab.ops.axial_attention import choose_backend
for _ in range(2):
    try:
        choose_backend(torch.zeros(1), 140, 280, "triton")
    except ValueError as error:
        print(error)
"""


def run(level: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"AXIAL_DEEPLAB_LOG": level}
    return subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=120)


def test_debug_says_once_which_backend_runs_and_why() -> None:
    done = run("debug")
    assert done.stderr.count("axial_deeplab: attention with 140 key and 280 value channels a head") == 1
    assert "reference, because" in done.stderr


def test_without_a_level_there_is_no_log() -> None:
    assert run("").stderr == ""


def test_unknown_level_is_named() -> None:
    assert "AXIAL_DEEPLAB_LOG must be debug, info, warning or error, not 'loud'" in run("loud").stderr
