"""Tasks in which each decision names any segment next, or ends the episode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .priced import PricedT, PricedTask
from .task import ChoiceT, Decision


class FreeOrderTask(PricedTask[PricedT, ChoiceT]):
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
