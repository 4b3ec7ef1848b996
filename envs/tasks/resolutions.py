"""Resolutions: in every segment one of several networks or sides, or a few segments skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..config import check_integer
from ..episodes.order import Episodes
from .actions import check_allowed, checked_actions
from .priced import PricedConfig, PricedTask
from .task import Decision
from .timelines import Timeline


@dataclass(frozen=True)
class ResolutionConfig(PricedConfig):
    """The keywords of ``focusgym/Resolution-v0``: those of `PricedConfig`, and two more.

    ``group`` may name several option groups, such as the whole frame at three sides, each with an
    encoder of its own.

    Attributes:
        coarse: Whether a segment may be fed without a look too: f_C then has its glance vector
            alone, if it takes these, and the features of f_L are zeros.
        skips: By how many segments each of the last actions goes on without feeding any.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    task: ClassVar[str] = "focusgym.envs.tasks.resolutions:ResolutionTask"

    observation: str = "state"
    coarse: bool = False
    skips: Sequence[int] = (1, 2, 4)

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if not isinstance(self.coarse, bool):
            raise ValueError(f"coarse must be true or false; got {self.coarse!r}")
        for skip in self.skips:
            check_integer("skips", skip, 1)
        if len({*self.skips}) < len(self.skips):
            raise ValueError(f"skips must be different numbers; got {list(self.skips)}")


class ResolutionTask(PricedTask[ResolutionConfig, NDArray[np.int64]]):
    """Read the segment with one of the options, or skip some. ``focusgym/Resolution-v0``.

    ## Action space
    ``Discrete(K + len(skips))``: an option of the opened groups; or, from K on, to skip as many
    segments as ``skips`` says, this one among them. With ``coarse`` action K feeds the segment
    without a look, and the skips are from K + 1 on. Skipped segments are neither glanced at, but
    for the one at which the decision was made, nor fed. A skip to the end of a video of which
    nothing was fed is not possible, and reads the cheapest option instead. ``action_masks()`` says
    so.

    ## Reward
    The design's (by default the confidence that was gained, which adds up to the confidence at the
    end) less ``price_per_gmac`` times what the decision spent.

    ## Episodes
    At most T decisions; they end behind the last segment.

    Source: AR-Net (arXiv:2007.15796): four resolutions with a network each, and skips of 1, 2 and
        4. LiteEval (arXiv:1912.01601): one option, ``coarse`` and no skips. Both train by
        Gumbel-softmax; the price per GMAC is ours.
    """

    @property
    def space(self) -> spaces.Space[np.int64]:
        """An option, no look, or a skip."""
        return spaces.Discrete(self._n_fed + len(self.config.skips))

    @property
    def _n_fed(self) -> int:
        """How many actions, the first ones, feed the segment."""
        return len(self.allowed) + self.config.coarse

    def make_timeline(self) -> Timeline:
        """Return the segments in order, of which some may be skipped."""
        return Timeline.in_order(self.engine.cache.steps, self.config.skips)

    def masks(self) -> NDArray[np.bool_]:
        """Return which actions are possible: the allowed options, no look, and some skips."""
        skips = self.can_stop()[:, None] | ~self.timeline.skips_to_the_end(self.place)
        feeds = np.append(self.allowed, np.ones(int(self.config.coarse), dtype=bool))
        return np.concatenate([np.tile(feeds, (len(self.t), 1)), skips], axis=1)

    def read(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Return the actions ``(N,)``; a skip that is not possible is the cheapest option.

        Raises:
            ValueError: If they are not N actions of the space, or an option is not allowed.
        """
        n_options, n_actions = len(self.allowed), self._n_fed + len(self.config.skips)
        chosen = checked_actions(actions, (len(self.t),), (n_actions,))
        check_allowed(chosen[chosen < n_options], self.allowed)
        possible = self.masks()[np.arange(len(chosen)), chosen]
        price = np.where(self.allowed, self.prices.option_gmacs, np.inf)
        return np.where(possible, chosen, int(price.argmin()))

    def decide(self, choice: NDArray[np.int64], episodes: Episodes) -> Decision:
        """Read the segments, or skip some."""
        attended, fed = choice < len(self.allowed), choice < self._n_fed
        by = np.asarray([1] * self._n_fed + list(self.config.skips), dtype=np.int64)[choice]
        return self.take(
            self.upcoming(),
            np.where(attended, choice, 0),
            fed,
            attended=attended,
            place=self.place + by,
            info={"skipped": np.where(fed, 0, by)},
        )
