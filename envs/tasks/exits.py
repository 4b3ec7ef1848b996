"""Exits: after each segment of a given order, whether the prediction so far is good enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ...recognizer import coarse_to_fine
from ..episodes.order import Episodes
from .actions import checked_actions
from .priced import OneOptionConfig, PricedTask, check_option
from .task import Decision
from .timelines import Timeline

STOP, GO_ON = 0, 1


@dataclass(frozen=True)
class ExitConfig(OneOptionConfig):
    """The keywords of ``focusgym/Exit-v0``: those of `OneOptionConfig`, and one more.

    Attributes:
        frame_order: Segments in the order in which they are taken, each once at most; None takes
            all of them coarse to fine, see `coarse_to_fine`.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    task: ClassVar[str] = "focusgym.envs.tasks.exits:ExitTask"

    frame_order: Sequence[int] | None = None


class ExitTask(PricedTask[ExitConfig, NDArray[np.bool_]]):
    """Stop, or take one segment more. ``focusgym/Exit-v0``.

    The first segment is taken when the episode begins to be decided: there is no prediction before
    it. From then on each decision comes before a segment.

    ## Action space
    ``Discrete(2)``: 0 stops, 1 takes the next segment. At the first decision 1 is the only one that
    is possible; ``action_masks()`` says so, and 0 counts as 1 there.

    ## Reward
    The design's (by default the confidence that was gained, which adds up to the confidence at the
    end) less ``price_per_gmac`` times what the decision spent. Stopping gains nothing, and spends
    the agent's own cost alone: the next segment is not glanced at before it is taken.

    ## Episodes
    At most as many decisions as the order has segments. They end with a stop or the last segment.

    Source: FrameExit (arXiv:2104.13400): a given order and a learned stop after each frame. It
        trains gates on pseudo-labels from losses; as RL it is ours.
    """

    @property
    def space(self) -> spaces.Space[np.int64]:
        """Stop or go on."""
        return spaces.Discrete(2)

    def make_timeline(self) -> Timeline:
        """Return the given order, or coarse to fine."""
        steps, order = self.engine.cache.steps, self.config.frame_order
        check_option(self.config.option, self.allowed)
        return Timeline.given_order(coarse_to_fine(steps) if order is None else order, steps)

    def masks(self) -> NDArray[np.bool_]:
        """Return which of stop and go on are possible, ``(N, 2)``."""
        masks = np.ones((len(self.t), 2), dtype=bool)
        masks[:, STOP] = self.can_stop()
        return masks

    def read(self, actions: ArrayLike) -> NDArray[np.bool_]:
        """Return whether each episode goes on, ``(N,)``."""
        n_envs = len(self.t)
        goes_on: NDArray[np.bool_] = checked_actions(actions, (n_envs,), (2,)) == GO_ON
        return goes_on | ~self.can_stop()

    def decide(self, choice: NDArray[np.bool_], episodes: Episodes) -> Decision:
        """Take the next segment, or stop."""
        options = np.full(len(choice), self.config.option)
        stops = ~choice
        return self.take(self.upcoming(), options, choice, stops=stops, info={"stopped": stops})
