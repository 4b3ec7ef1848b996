"""Rows of the tables, and the times that they are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

Row = dict[str, float | str]
REPEATS = 5


def row(values: Sequence[float], unit: str, how: str) -> Row:
    """Return a row from repetitions: their median, smallest and largest."""
    return {
        "value": median(values),
        "low": min(values),
        "high": max(values),
        "unit": unit,
        "how": f"{how}; median of {len(values)}",
    }


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], object], device: torch.device, repeats: int = REPEATS) -> list[float]:
    """Return how long each of some runs takes, after one that warms up."""
    taken = []
    for repeat in range(repeats + 1):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        if repeat:
            taken.append(time.perf_counter() - start)
    return taken
