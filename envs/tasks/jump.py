"""Jumps: any segment next, or the end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..config import check_integer
from ..engine.engine import FocusEngine
from ..episodes.order import Episodes
from .actions import checked_actions
from .priced import OneOptionConfig, PricedTask, check_option
from .prices import Prices
from .task import Decision
from .timelines import Timeline


@dataclass(frozen=True)
class JumpConfig(OneOptionConfig):
    """The keywords of ``focusgym/Jump-v0``: those of `OneOptionConfig`, and one more.

    Attributes:
        n_jumps: D, the most segments that are taken, at most T; None for T.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    n_jumps: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.n_jumps is not None:
            check_integer("n_jumps", self.n_jumps, 1)


class JumpTask(PricedTask[JumpConfig, NDArray[np.int64]]):
    """Go to any segment that was not taken yet, or stop. ``focusgym/Jump-v0``.

    f_G runs on all segments when the episode begins: they are the memory that the agent chooses by
    (``glances`` of the observation), and are charged with the first decision.

    ## Action space
    ``Discrete(T + 1)``: the segment to take, or T to stop. A segment that was taken before is not
    taken again: such a decision changes nothing and spends the agent's own cost. Stopping before
    anything was taken is not possible, and takes the middle segment. ``action_masks()`` says both.

    ## Reward
    The design's (by default the confidence that was gained, which adds up to the confidence at the
    end; ``best_margin`` is AdaFrame's) less ``price_per_gmac`` times what the decision spent.

    ## Episodes
    At most D decisions; they end with a stop or the last decision.

    Source: AdaFrame (arXiv:1811.12432): an agent that jumps through a video with a global memory of
        cheap features. Its stop comes from a predicted utility; here it is an action.
    """

    def __init__(
        self,
        config: JumpConfig,
        engine: FocusEngine,
        prices: Prices,
        allowed: NDArray[np.bool_],
        n_envs: int,
    ) -> None:
        """Set up N episodes; see `Task`."""
        super().__init__(config, engine, prices, allowed, n_envs)
        self._now = np.full(n_envs, engine.cache.steps // 2)

    @property
    def space(self) -> spaces.Space[np.int64]:
        """A segment, or stop."""
        return spaces.Discrete(self.engine.cache.steps + 1)

    def make_timeline(self) -> Timeline:
        """Return D decisions; what is shown before each is the segment taken last."""
        steps = self.engine.cache.steps
        check_option(self.config.option, self.allowed)
        most = steps if self.config.n_jumps is None else self.config.n_jumps
        if most > steps:
            raise ValueError(f"n_jumps must be in 1..{steps}, the segments of a video; got {most}")
        return Timeline((steps // 2,) * steps, most)

    def begin(self, which: NDArray[np.bool_]) -> None:
        """Begin anew in the episodes ``which``, at the middle segment."""
        super().begin(which)
        self._now = np.where(which, self.engine.cache.steps // 2, self._now)

    def upcoming(self) -> NDArray[np.int64]:
        """Return the segments ``(N,)`` that were taken last; the middle one before any."""
        return self._now

    def glanced(self) -> NDArray[np.bool_]:
        """Return all: f_G runs on the whole video first, ``(N, T)``."""
        return np.ones_like(self.seen)

    def masks(self) -> NDArray[np.bool_]:
        """Return ``(N, T + 1)``: the segments that were not taken, and stop."""
        stop = self.seen.any(axis=1, keepdims=True)
        return np.concatenate([~self.seen, stop], axis=1)

    def read(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Return the segments ``(N,)``, T to stop."""
        steps = self.engine.cache.steps
        chosen = checked_actions(actions, (len(self.t),), (steps + 1,))
        too_early = (chosen == steps) & ~self.seen.any(axis=1)
        return np.where(too_early, steps // 2, chosen)

    def decide(self, choice: NDArray[np.int64], episodes: Episodes) -> Decision:
        """Take the segments, or stop."""
        steps, rows = self.engine.cache.steps, np.arange(len(choice))
        stops = choice == steps
        segments = np.where(stops, self._now, choice)
        fed = ~stops & ~self.seen[rows, segments]
        glances = np.where(self.t == 0, steps * self.prices.cost.glance_gmacs, 0.0)
        self._now = segments
        return self.take(
            segments,
            np.full(len(choice), self.config.option),
            fed,
            glance_gmacs=glances,
            ends=stops,
            info={"stopped": stops},
        )
