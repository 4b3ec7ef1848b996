"""Jumps: any segment next, or the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..episodes.order import Episodes
from .actions import checked_actions
from .free_order import FreeOrderConfig, FreeOrderTask
from .priced import OneOptionConfig, check_option
from .task import Decision
from .timelines import Timeline


@dataclass(frozen=True)
class JumpConfig(OneOptionConfig, FreeOrderConfig):
    """The keywords of ``focusgym/Jump-v0``: those of `OneOptionConfig` and `FreeOrderConfig`."""

    task: ClassVar[str] = "focusgym.envs.tasks.jump:JumpTask"


class JumpTask(FreeOrderTask[JumpConfig, NDArray[np.int64]]):
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

    @property
    def space(self) -> spaces.Space[np.int64]:
        """A segment, or stop."""
        return spaces.Discrete(self.engine.cache.steps + 1)

    def make_timeline(self) -> Timeline:
        """Return D decisions; what is shown before each is the segment taken last."""
        check_option(self.config.option, self.allowed)
        return Timeline.free(self.engine.cache.steps, self.config.n_decisions)

    def masks(self) -> NDArray[np.bool_]:
        """Return ``(N, T + 1)``: the segments that were not taken, and stop."""
        return np.column_stack([~self.seen, self.can_stop()])

    def read(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Return the segments ``(N,)``, T to stop."""
        steps = self.engine.cache.steps
        chosen = checked_actions(actions, (len(self.t),), (steps + 1,))
        too_early = (chosen == steps) & ~self.can_stop()
        return np.where(too_early, steps // 2, chosen)

    def decide(self, choice: NDArray[np.int64], episodes: Episodes) -> Decision:
        """Take the segments, or stop."""
        stops = choice == self.engine.cache.steps
        return self.go(choice, np.full(len(choice), self.config.option), stops)
