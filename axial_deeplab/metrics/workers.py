"""Spread the work on images over processes, with results in the order of the images and few of them in memory.

Processes are not forked from this one, which can hang in the midst of other threads: where the system can, they are forked from
a server that has imported what they need, elsewhere started anew. Programs that ask for more than one need the usual
guard, `if __name__ == "__main__"`.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

import numpy as np

from axial_deeplab.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 2
"""int: Threads of a single process: Pillow and NumPy work outside of the interpreter lock."""

_shared: Any = None  # in a worker, what all calls get


class Workers:
    """Processes, or the threads of this one, that apply functions to items.

    Args:
        processes: How many; 1 stays in this process.
        shared: First argument of every call, sent to each process once.

    Raises:
        InputError: The number is below 1.
    """

    def __init__(self, processes: int, shared: object) -> None:
        if processes < 1:
            raise InputError(f"--processes starts at 1, not {processes}")
        self._executor: Executor
        self._call: Callable[..., Any]
        if processes == 1:
            self._executor, self._call = ThreadPoolExecutor(THREADS), partial(_call, shared)
            _keep_freed_memory()
        else:
            self._executor = ProcessPoolExecutor(processes, _choose_context(), initializer=_start, initargs=(shared,))
            self._call = _call_shared
        self._ahead = 2 * max(processes, THREADS)

    def __enter__(self) -> "Workers":
        """Return the workers."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them; work not yet begun is dropped."""
        self._executor.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Any, Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function(shared, item)` for each item, in their order, computed a few items ahead.

        Args:
            function: Of a module, so that other processes find it.
            items: Taken one by one as results are fetched: a stream of any length.
        """
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(self._executor.submit(self._call, function, item))
            if len(waiting) > self._ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _choose_context() -> BaseContext:
    """Return how to start processes; with a server, torch is imported once, not in each of them."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["axial_deeplab.metrics.score_files"])
    return context


def _start(shared: object) -> None:
    global _shared
    _shared = shared
    _keep_freed_memory()


def _call(shared: Any, function: Callable[[Any, Item], Result], item: Item) -> Result:
    return function(shared, item)


def _call_shared(function: Callable[[Any, Item], Result], item: Item) -> Result:
    return function(_shared, item)


def _keep_freed_memory() -> None:
    """Keep glibc from giving the memory of each map back to the system, only to fetch it again page by page.

    It returns what is free above twice the largest block that was ever freed, so freeing a large one, never touched, is
    enough. On virtual machines this halves the time of scoring; elsewhere it changes nothing.
    """
    np.empty(2**24, np.uint8)
