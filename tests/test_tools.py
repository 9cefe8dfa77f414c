"""Tools say how they are used."""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def test_check_submissions_explains_itself() -> None:
    command = [sys.executable, str(TOOLS / "check_submissions.py"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "{write,judge,compare}" in result.stdout
