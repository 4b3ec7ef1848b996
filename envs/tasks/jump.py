"""Jumps: any segment next, or the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..config import EnvConfig, check_integer, check_number
from ..engine.engine import FocusEngine
from ..episodes.order import Episodes
from ..rewards.designs import Reward
from .actions import checked_actions
from .exits import check_option
from .prices import Prices
from .task import Decision, Look, Task
from .timelines import Timeline


@dataclass(frozen=True)
class JumpConfig(EnvConfig):
    """The keywords of ``focusgym/Jump-v0``: those of `EnvConfig`, and three more.

    Attributes:
        n_jumps: D, the most segments that are taken, at most T; None for T.
        option: The option that f_L is run on in every segment, in ``[0, K)``.
        price_per_gmac: What is taken off the reward for each GMAC that a decision spends.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    observations: ClassVar[tuple[str, ...]] = ("state",)

    observation: str = "state"
    reward: Reward = "increments"
    n_jumps: int | None = None
    option: int = 0
    price_per_gmac: float = 0.0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check_integer("option", self.option, 0)
        check_number("price_per_gmac", self.price_per_gmac)
        if self.n_jumps is not None:
            check_integer("n_jumps", self.n_jumps, 1)


class JumpTask(Task[JumpConfig, NDArray[np.int64]]):
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
        options = np.full(len(choice), self.config.option)
        prices = self.prices
        glances = np.where(self.t == 0, steps * prices.cost.glance_gmacs, 0.0)
        spent = glances + prices.cost.policy_gmacs + prices.of_looks(options, fed, fed)
        self.pay(spent)
        previous = self.engine.confidence
        self.engine.commit(self.engine.try_options(segments, options[:, None], fed=fed))
        self.t = self.t + 1
        self.seen[rows, segments] |= fed
        self._now = segments
        over = stops | (self.t == self.timeline.n_decisions)
        named = np.where(fed, options, -1)
        rewards = self.priced_reward(previous, named, over, spent, self.config.price_per_gmac)
        look = Look(
            segments, named, fed, fed, self.engine.logits, self.engine.confidence, self.gmacs
        )
        return Decision((look,), rewards, over, {"stopped": stops})
