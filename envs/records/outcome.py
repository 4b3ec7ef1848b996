"""What a decision in each of N environments gave, and one environment's part of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Outcome:
    """What a decision in each of N environments gave.

    Attributes:
        rewards: ``(N,)`` float32.
        done: ``(N,)`` bool, whether that was the last decision of its episode.
        describe: Makes `info`.
    """

    rewards: NDArray[np.float32]
    done: NDArray[np.bool_]
    describe: Callable[[], Columns]

    @cached_property
    def info(self) -> Columns:
        """Columns of N values by name, made when first asked for; see `FocusEnv`."""
        return self.describe()


def row_info(columns: Columns, row: int) -> dict[str, Any]:
    """Return one environment's values of info columns: Python's own, or a copied array."""
    return {
        name: column[row].item() if column.ndim == 1 else column[row].copy()
        for name, column in columns.items()
    }


def row_observation(observations: Any, row: int) -> Any:
    """Return one environment's observation of a batch, copied."""
    if isinstance(observations, dict):
        return {key: rows[row].copy() for key, rows in observations.items()}
    return observations[row].copy()
