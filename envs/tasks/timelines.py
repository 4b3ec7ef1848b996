"""Timelines: which segment a decision is about, and how many decisions an episode has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Timeline:
    """Which segment comes next, and when an episode ends at the latest.

    Attributes:
        order: The segments in the order in which decisions are about them. Where the action itself
            names segments, the one that is shown before each decision.
        n_decisions: D, the most decisions of an episode.

    Raises:
        ValueError: If there are no decisions, or more than segments in the order.
    """

    order: tuple[int, ...]
    n_decisions: int

    def __post_init__(self) -> None:
        """Check the number of decisions."""
        if not 1 <= self.n_decisions <= len(self.order):
            raise ValueError(
                f"expected 1 to {len(self.order)} decisions, one for each segment of the order at "
                f"most; got {self.n_decisions}"
            )

    def segment(self, t: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the segments ``(N,)`` of decisions ``t``, ``(N,)`` in ``[0, D)``."""
        found: NDArray[np.int64] = np.asarray(self.order, dtype=np.int64)[t]
        return found


def in_order(steps: int) -> Timeline:
    """Return the timeline of a video played from its first segment to its last.

    Args:
        steps: T.
    """
    return Timeline(tuple(range(steps)), steps)


def uniform_segments(k: int, steps: int) -> NDArray[np.int64]:
    """Return the middle segments ``(k,)`` of k equal parts of ``steps`` segments, 0 ≤ k ≤ T."""
    # floor((i + 0.5) * T / k) in integers; k = 0 is an empty range.
    return np.arange(steps, 2 * k * steps, 2 * steps) // max(1, 2 * k)
