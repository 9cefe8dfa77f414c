"""Fixtures for the tests of panoptic arithmetic."""

from pathlib import Path

import pytest

from tests.panoptic.golden_cases import LOSS_CASES, LossCase, load_loss_case


@pytest.fixture(params=LOSS_CASES)
def loss_case(request: pytest.FixtureRequest, golden: Path) -> LossCase:
    """Return each golden case of targets and losses in turn."""
    return load_loss_case(golden, request.param)
