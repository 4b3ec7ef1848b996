"""Tasks in which each decision names any segment next, or ends the episode."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..engine.engine import FocusEngine
from .priced import PricedT, PricedTask
from .prices import Prices
from .task import ChoiceT, Decision
from .timelines import Timeline


class FreeOrderTask(PricedTask[PricedT, ChoiceT]):
    """A task that goes to any segment that was not taken yet, or stops.

    f_G runs on all segments when an episode begins, and is charged with the first decision. A
    segment that was taken before is not taken again: such a decision changes nothing and spends the
    agent's own cost. Stopping before anything was taken is not possible.

    Attributes:
        glances_first: Whether that is so for f_G; if not, it runs on the segments that are taken,
            and only where f_C takes its vectors.
    """

    glances_first: ClassVar[bool] = True

    def __init__(
        self,
        config: PricedT,
        engine: FocusEngine,
        prices: Prices,
        allowed: NDArray[np.bool_],
        n_envs: int,
    ) -> None:
        """Set up N episodes; see `Task`."""
        super().__init__(config, engine, prices, allowed, n_envs)
        self._now = np.full(n_envs, engine.cache.steps // 2)

    def begin(self, which: NDArray[np.bool_]) -> None:
        """Begin anew in the episodes ``which``, at the middle segment."""
        super().begin(which)
        self._now = np.where(which, self.engine.cache.steps // 2, self._now)

    def upcoming(self) -> NDArray[np.int64]:
        """Return the segments ``(N,)`` that were taken last; the middle one before any."""
        return self._now

    def glanced(self) -> NDArray[np.bool_]:
        """Return the segments that f_G has run on, ``(N, T)``."""
        if self.glances_first:
            return np.ones_like(self.seen)
        return self.seen & self.engine.source.classifier.config.reuse_glance

    def timeline_of(self, name: str, most: int | None) -> Timeline:
        """Return a timeline in which what is shown before a decision is the segment taken last.

        Args:
            name: Of the keyword that limits the decisions.
            most: Its value, D; None for T.

        Raises:
            ValueError: If there are more decisions than segments.
        """
        steps = self.engine.cache.steps
        most = steps if most is None else most
        if most > steps:
            raise ValueError(f"{name} must be in 1..{steps}, the segments of a video; got {most}")
        return Timeline((steps // 2,) * steps, most)

    def go(
        self, segments: NDArray[np.int64], options: NDArray[np.int64], stops: NDArray[np.bool_]
    ) -> Decision:
        """Take a segment each, or stop.

        Args:
            segments: ``(N,)`` to go to; any where an episode stops.
            options: ``(N,)`` that f_L runs on; any where an episode stops.
            stops: ``(N,)`` bool.
        """
        steps, rows = self.engine.cache.steps, np.arange(len(stops))
        segments = np.where(stops, self._now, segments)
        fed = ~stops & ~self.seen[rows, segments]
        if self.glances_first:
            n_glances = np.where(self.t == 0, steps, 0)
        else:
            n_glances = fed * self.engine.source.classifier.config.reuse_glance
        self._now = segments
        return self.take(
            segments,
            options,
            fed,
            glance_gmacs=n_glances * self.prices.cost.glance_gmacs,
            ends=stops,
            info={"stopped": stops},
        )
