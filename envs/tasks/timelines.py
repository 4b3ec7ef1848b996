"""Timelines: which segment a decision is about, when an episode ends, and when f_G runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

Glances = Literal["next", "all", "taken", "needed"]


@dataclass(frozen=True)
class Timeline:
    """Which segment comes next, and when an episode ends.

    Made by `in_order`, `given_order`, `free` and `once`. Where an episode stands is a place in the
    order: the next one after every decision, unless the decision skips some or names it.

    Attributes:
        order: The segments in the order in which decisions are about them. Where decisions name
            segments, all of them; the place is then the segment that was taken last.
        n_decisions: D, the most decisions of an episode.
        begins: At which place an episode begins.
        may_stop: Whether a decision may end an episode before that, once f_C was fed something.
        skips: By how many places a decision may go on without feeding any; a skip to the end is a
            stop.
        glances: On which segments f_G runs: ``next``, the one that a decision is about, before it;
            ``all``, when an episode begins; ``taken``, those that f_C is fed, which are observed
            from then on; ``needed``, these only if f_C takes glance vectors.

    Raises:
        ValueError: If there are no decisions, or more than segments in the order.
    """

    order: tuple[int, ...]
    n_decisions: int
    begins: int = 0
    may_stop: bool = False
    skips: tuple[int, ...] = ()
    glances: Glances = "next"

    def __post_init__(self) -> None:
        """Check the number of decisions."""
        if not 1 <= self.n_decisions <= len(self.order):
            raise ValueError(
                f"expected 1 to {len(self.order)} decisions, one for each segment of the order at "
                f"most; got {self.n_decisions}"
            )

    @classmethod
    def in_order(cls, steps: int, skips: Sequence[int] = ()) -> Self:
        """Return the timeline of a video played from its first segment to its last.

        Args:
            steps: T.
            skips: By how many segments a decision may go on instead of feeding one.
        """
        return cls(tuple(range(steps)), steps, may_stop=bool(skips), skips=tuple(skips))

    @classmethod
    def given_order(cls, frame_order: Sequence[int], steps: int) -> Self:
        """Return the timeline of segments in an order of its own, which may stop before each.

        Args:
            frame_order: The segments.
            steps: T.

        Raises:
            ValueError: If they are not different segments of a video.
        """
        order = tuple(frame_order)
        if not order or len({*order}) < len(order) or not {*order} <= {*range(steps)}:
            raise ValueError(
                f"frame_order must be different segments in [0, {steps}), at least one; got "
                f"{list(order)}"
            )
        return cls(order, len(order), may_stop=True, glances="taken")

    @classmethod
    def free(
        cls,
        steps: int,
        n_decisions: int | None = None,
        *,
        begins: int | None = None,
        glances: Glances = "all",
    ) -> Self:
        """Return the timeline of decisions that name the segments, or stop.

        Args:
            steps: T.
            n_decisions: D, at most T; None for T.
            begins: The segment that stands for the one taken last before any was; None for the
                middle one.
            glances: See `Timeline`.

        Raises:
            ValueError: If there are more decisions than segments.
        """
        most = steps if n_decisions is None else n_decisions
        if most > steps:
            raise ValueError(
                f"n_decisions must be in 1..{steps}, the segments of a video; got {most}"
            )
        first = steps // 2 if begins is None else begins
        return cls(tuple(range(steps)), most, first, may_stop=True, glances=glances)

    @classmethod
    def once(cls) -> Self:
        """Return the timeline of one decision about the whole video; the first segment is shown."""
        return cls((0,), 1, glances="all")

    def segment(self, place: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the segments ``(N,)`` at places ``(N,)``; behind the last place, that."""
        order = np.asarray(self.order, dtype=np.int64)
        segments: NDArray[np.int64] = order[np.minimum(place, len(order) - 1)]
        return segments

    def is_over(self, place: NDArray[np.int64], t: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which episodes are at their end without a stop, ``(N,)``.

        Args:
            place: ``(N,)`` where they stand.
            t: ``(N,)`` decisions so far.
        """
        over: NDArray[np.bool_] = (place >= len(self.order)) | (t == self.n_decisions)
        return over

    def skips_to_the_end(self, place: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of the skips leave nothing to come, ``(N, number of skips)``."""
        reaches_end: NDArray[np.bool_] = place[:, None] + np.asarray(self.skips) >= len(self.order)
        return reaches_end


def uniform_segments(k: int, steps: int) -> NDArray[np.int64]:
    """Return the middle segments ``(k,)`` of k equal parts of ``steps`` segments, 0 ≤ k ≤ T."""
    # floor((i + 0.5) * T / k) in integers; k = 0 is an empty range.
    return np.arange(steps, 2 * k * steps, 2 * steps) // max(1, 2 * k)
