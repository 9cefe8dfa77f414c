"""Steps, waiting and pauses are told apart."""

import pytest

from axial_deeplab.training import throughput
from axial_deeplab.training.throughput import Throughput


def test_pauses_count_neither_as_step_nor_as_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 3.0, 4.0, 6.0, 100.0, 102.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    measured = Throughput()
    assert measured.images_per_second == measured.waiting_share == 0.0
    measured.begin_step()  # 0: the first batch is not waited for
    measured.end_step(4)  # 3
    measured.begin_step()  # 4: waited 1
    measured.end_step(4)  # 6
    measured.pause()
    measured.begin_step()  # 100
    measured.end_step(2)  # 102
    assert (measured.images, measured.seconds, measured.waited) == (10, 8.0, 1.0)
    assert (measured.images_per_second, measured.waiting_share) == (1.25, 0.125)
