"""Threads: how many torch uses, and work done ahead of its consumer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Let torch use n threads inside the block; None leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ahead(
    function: Callable[[ItemT], ResultT], items: Iterable[ItemT], workers: int
) -> Iterator[ResultT]:
    """Map a function over items in threads, in order, a few items ahead of the consumer.

    Args:
        function: Called in a thread.
        items: Consumed as results are.
        workers: Number of threads; at most twice as many results wait.
    """
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers)
    try:
        waiting = [pool.submit(function, item) for item in islice(remaining, 2 * workers)]
        while waiting:
            result = waiting.pop(0).result()
            waiting += [pool.submit(function, item) for item in islice(remaining, 1)]
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
