"""Pointers: several places in the video at once, each of which moves ahead, back or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..config import check_integer
from ..engine.engine import FocusEngine
from ..episodes.order import Episodes
from .actions import checked_actions
from .priced import OneOptionConfig, PricedTask, check_option
from .prices import Prices
from .task import Decision, Look
from .timelines import Timeline, uniform_segments

BACK, STAY, AHEAD = 0, 1, 2


@dataclass(frozen=True)
class PointersConfig(OneOptionConfig):
    """The keywords of ``focusgym/Pointers-v0``: those of `OneOptionConfig`, and two more.

    Attributes:
        n_pointers: A, how many there are, at most T.
        stride: By how many segments one moves.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    task: ClassVar[str] = "focusgym.envs.tasks.pointers:PointersTask"

    n_pointers: int = 2
    stride: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check_integer("n_pointers", self.n_pointers, 1)
        check_integer("stride", self.stride, 1)


class PointersTask(PricedTask[PointersConfig, NDArray[np.int64]]):
    """Move each of A pointers ahead or back, or let it stay. ``focusgym/Pointers-v0``.

    Pointers begin where A segments are spread uniformly, and the first decision reads these. From
    then on each decision moves the pointers, and reads the segments that they come to, in the order
    of the pointers, each once. f_C is fed what is read; f_G runs on that too if f_C takes glance
    vectors, and else not at all.

    ## Action space
    ``MultiDiscrete([3] * A)``: back (0), stay (1) or ahead (2), by ``stride`` segments. A pointer
    that would leave the video stays, and so do all at the first decision; ``action_masks()`` says
    both.

    ## Observation
    ``now`` is 1 where a pointer is: it may be so at several segments, up to A.

    ## Reward
    The design's (by default the confidence that was gained, which adds up to the confidence at the
    end) less ``price_per_gmac`` times what the decision spent.

    ## Episodes
    They end with a decision that reads nothing: so when all pointers stay. At most T decisions, and
    none after all segments were read.

    Source: MultiAgent (arXiv:1907.13369): agents that each hold a frame and move it, until all
        stay. Its prediction is of the frames that they hold in the end; here what was read counts,
        for it was paid for, and a move to what was read is no other than to stay.
    """

    def __init__(
        self,
        config: PointersConfig,
        engine: FocusEngine,
        prices: Prices,
        allowed: NDArray[np.bool_],
        n_envs: int,
    ) -> None:
        """Set up N episodes; see `Task`."""
        super().__init__(config, engine, prices, allowed, n_envs)
        self._at = np.tile(self._beginning, (n_envs, 1))  # (N, A)

    @property
    def space(self) -> spaces.Space[NDArray[np.int64]]:
        """A move of each pointer."""
        return spaces.MultiDiscrete([3] * self.config.n_pointers)

    @property
    def _beginning(self) -> NDArray[np.int64]:
        return uniform_segments(self.config.n_pointers, self.engine.cache.steps)

    def make_timeline(self) -> Timeline:
        """Return T decisions at most."""
        steps = self.engine.cache.steps
        if self.config.n_pointers > steps:
            raise ValueError(
                f"n_pointers must be in 1..{steps}, the segments of a video; got "
                f"{self.config.n_pointers}"
            )
        check_option(self.config.option, self.allowed)
        return Timeline.free(steps, begins=int(self._beginning[0]), glances="needed")

    def begin(self, which: NDArray[np.bool_]) -> None:
        """Begin anew in the episodes ``which``, with the pointers spread uniformly."""
        super().begin(which)
        self._at = np.where(which[:, None], self._beginning, self._at)

    def pointed(self) -> NDArray[np.bool_]:
        """Return where pointers are, ``(N, T)``."""
        pointed = np.zeros_like(self.seen)
        np.put_along_axis(pointed, self._at, True, axis=1)
        return pointed

    def masks(self) -> NDArray[np.bool_]:
        """Return ``(N, 3 A)``: for each pointer whether it can go back, stay, go ahead."""
        stride, last = self.config.stride, self.engine.cache.steps - 1
        moves = (self.t > 0)[:, None]
        back, ahead = moves & (self._at >= stride), moves & (self._at + stride <= last)
        return np.stack([back, np.ones_like(back), ahead], axis=2).reshape(len(self.t), -1)

    def read(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Return the segments ``(N, A)`` that the pointers come to."""
        shape = self._at.shape
        chosen = checked_actions(actions, shape, (3,) * shape[1])
        possible = self.masks().reshape(*shape, 3)
        possible = np.take_along_axis(possible, chosen[..., None], axis=2)[..., 0]
        return self._at + np.where(possible, (chosen - STAY) * self.config.stride, 0)

    def decide(self, choice: NDArray[np.int64], episodes: Episodes) -> Decision:
        """Move the pointers, and read what they come to."""
        engine, prices, n_envs = self.engine, self.prices, len(choice)
        rows, previous, before = np.arange(n_envs), engine.confidence, self.gmacs
        self._at = choice
        segments, n_new = _new_first(choice, self.seen)
        self.pay(np.full(n_envs, prices.cost.policy_gmacs))
        looks, options = [], np.full(n_envs, self.config.option)
        named = n_new > 0
        for a in range(max(1, int(n_new.max()))):
            fed = a < n_new
            self.pay(self.glance_gmacs(fed) + prices.of_looks(options, fed, fed))
            engine.commit(engine.try_options(segments[:, a], options[:, None], fed=fed))
            self.seen[rows, segments[:, a]] |= fed
            shown = np.where(fed | (a == 0), segments[:, a], -1)  # each episode has one at least
            logits, confidence = engine.logits, engine.confidence
            taken = (shown, options, named, fed, fed.copy())
            looks.append(Look(*taken, logits, confidence, self.gmacs))
        self.move_on(choice[:, 0])  # where the first pointer is
        over = (n_new == 0) | self.seen.all(axis=1) | self.timeline.is_over(self.place, self.t)
        rewards = self.reward_less_price(previous, options, named, over, self.gmacs - before)
        return Decision(tuple(looks), rewards, over, {"n_read": n_new})


def _new_first(
    choice: NDArray[np.int64], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return segments ``(N, A)`` with those first that are new, and how many these are ``(N,)``.

    Args:
        choice: ``(N, A)`` where pointers are; of two at one place the first counts.
        seen: ``(N, T)`` what was read.
    """
    same = choice[:, :, None] == choice[:, None, :]
    first = ~np.tril(same, -1).any(axis=2)  # (N, A): no earlier pointer is there
    new = first & ~np.take_along_axis(seen, choice, axis=1)
    order = np.argsort(~new, axis=1, kind="stable")
    return np.take_along_axis(choice, order, axis=1), new.sum(axis=1)
