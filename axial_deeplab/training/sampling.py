"""Which image, with which augmentation, at which step: pure functions of the seed and a running sample number.

The n-th sample of a run is the same whatever the number of workers, whoever loads it, and whether the run was interrupted.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

PARTS_AT_ONCE = 16
"""int: Images of about so many parts are mixed at any time."""


@lru_cache(maxsize=2)
def _permute(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)


def locate_sample(number: int, *, length: int, seed: int) -> int:
    """Return the index of the image, 0 .. length - 1, that sample `number` of the run shows: every image once an epoch."""
    epoch, position = divmod(number, length)
    return int(_permute(length, seed, epoch)[position])


@lru_cache(maxsize=2)
def _permute_parts(parts: tuple[int, ...], seed: int, epoch: int) -> np.ndarray:
    if len(parts) <= PARTS_AT_ONCE:
        return _permute(sum(parts), seed, epoch)
    random = np.random.default_rng((seed, epoch))
    starts = np.repeat(random.permutation(len(parts)), parts)
    return np.argsort(starts + PARTS_AT_ONCE * random.random(len(starts)), kind="stable")


def locate_in_parts(number: int, *, parts: tuple[int, ...], seed: int) -> int:
    """Return the image of sample `number` as `locate_sample` does, but read few parts at a time: every image once an epoch.

    Parts begin in a random order, one after the other, and the images of each are spread at random over the time until
    `PARTS_AT_ONCE` others have begun. So many parts or fewer are shuffled as a whole.

    Args:
        number: Running number of the sample.
        parts: Numbers of images of the parts, such as the shards of a set.
        seed: Of the run.
    """
    epoch, position = divmod(number, sum(parts))
    return int(_permute_parts(parts, seed, epoch)[position])


def make_generator(number: int, *, seed: int) -> np.random.Generator:
    """Return the source of randomness for the augmentation of sample `number`."""
    # The third word keeps this stream apart from the permutations' (seed, epoch).
    return np.random.default_rng((seed, number, 1))


class StepBatches:
    """Yield the sample numbers of one process, batch by batch, beginning where the run stands.

    Args:
        batch_size: Samples of one process in one batch.
        num_batches: Batches in the whole run, whatever part of it is left.
        rank: Number of this process among `world_size`; it takes every `world_size`-th sample.
        first: Tells, when iteration begins, how many batches the run has already seen.
    """

    def __init__(
        self, batch_size: int, num_batches: int, *, rank: int = 0, world_size: int = 1, first: Callable[[], int]
    ) -> None:
        self.batch_size, self.num_batches = batch_size, num_batches
        self.rank, self.world_size, self.first = rank, world_size, first

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        stride = self.world_size
        for batch in range(self.first(), self.num_batches):
            start = batch * self.batch_size * stride + self.rank
            yield list(range(start, start + self.batch_size * stride, stride))
