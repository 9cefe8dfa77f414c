"""How fast a run goes, and how much of its time it waits for data."""

import time
from dataclasses import dataclass


@dataclass
class Throughput:
    """Time each step of one process, from the end of the step before it to its own end.

    Attributes:
        images: Images so far.
        seconds: Time in steps so far; scoring is left out.
        waited: Part of `seconds` between steps, in which the next batch is fetched.
    """

    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    _mark: float | None = None

    def pause(self) -> None:
        """Leave out what happens until the next step begins."""
        self._mark = None

    def begin_step(self) -> None:
        """Note that a batch has arrived."""
        now = time.perf_counter()
        if self._mark is not None:
            self.waited += now - self._mark
            self.seconds += now - self._mark
        self._mark = now

    def end_step(self, images: int) -> None:
        """Note that a step with so many images is done."""
        now = time.perf_counter()
        assert self._mark is not None
        self.images += images
        self.seconds += now - self._mark
        self._mark = now

    @property
    def images_per_second(self) -> float:
        """Images in a second, 0 before the first step."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the time spent waiting for data, 0 .. 1."""
        return self.waited / self.seconds if self.seconds else 0.0
