"""Timelines: which segment a decision is about, and how many decisions an episode has."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

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


def coarse_to_fine(steps: int) -> tuple[int, ...]:
    """Return the T segments in an order that covers the video ever more densely.

    The middle segment first, then both ends, then again and again the middle of the longest gap;
    of equal gaps the one nearest to the centre. So every prefix is spread over the whole video.

    Args:
        steps: T.

    Source: FrameExit (arXiv:2104.13400), whose frames come coarse to fine: 5, 0, 9, 2, 7, 4, 6, 3,
        8, 1 of ten. The rule is ours; it gives the same ten.
    """
    center = steps // 2
    order = list(dict.fromkeys([center, 0, steps - 1]))
    while len(order) < steps:
        known = sorted(order)
        gaps = [(high - low, round((low + high) / 2)) for low, high in pairwise(known)]
        order.append(max(gaps, key=lambda gap: (gap[0], -abs(gap[1] - center)))[1])
    return tuple(order)


def uniform_segments(k: int, steps: int) -> NDArray[np.int64]:
    """Return the middle segments ``(k,)`` of k equal parts of ``steps`` segments, 0 ≤ k ≤ T."""
    # floor((i + 0.5) * T / k) in integers; k = 0 is an empty range.
    return np.arange(steps, 2 * k * steps, 2 * steps) // max(1, 2 * k)
