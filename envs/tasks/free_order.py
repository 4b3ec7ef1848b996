"""Tasks in which each decision names any segment next, or ends the episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..config import check_integer
from .priced import PricedConfig, PricedTask
from .task import ChoiceT, Decision


@dataclass(frozen=True)
class FreeOrderConfig(PricedConfig):
    """Keywords of such tasks: those of `PricedConfig`, and one more.

    Attributes:
        n_decisions: D, the most decisions of an episode, at most T; None for T.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    n_decisions: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.n_decisions is not None:
            check_integer("n_decisions", self.n_decisions, 1)


FreeOrderT = TypeVar("FreeOrderT", bound=FreeOrderConfig)


class FreeOrderTask(PricedTask[FreeOrderT, ChoiceT]):
    """A task that goes to any segment that was not taken yet, or stops.

    Its timeline is `Timeline.free`.

    A segment that was taken before is not taken again: such a decision changes nothing and spends
    the agent's own cost. Stopping before anything was taken is not possible.
    """

    def go(
        self, segments: NDArray[np.int64], options: NDArray[np.int64], stops: NDArray[np.bool_]
    ) -> Decision:
        """Take a segment each, or stop.

        Args:
            segments: ``(N,)`` to go to; any where an episode stops.
            options: ``(N,)`` that f_L runs on; any where an episode stops.
            stops: ``(N,)`` bool.
        """
        segments = np.where(stops, self.upcoming(), segments)
        fed = ~stops & ~self.seen[np.arange(len(stops)), segments]
        info = {"stopped": stops}
        return self.take(segments, options, fed, stops=stops, place=segments, info=info)
