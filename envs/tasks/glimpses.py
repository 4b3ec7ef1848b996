"""Glimpses: the next place in the video as a number, and whether to give the prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..episodes.order import Episodes
from .actions import checked_numbers
from .free_order import FreeOrderConfig, FreeOrderTask
from .priced import OneOptionConfig, check_option
from .task import Decision
from .timelines import Timeline

_MOST = 6  # glimpses of the paper


@dataclass(frozen=True)
class GlimpsesConfig(OneOptionConfig, FreeOrderConfig):
    """The keywords of ``focusgym/Glimpses-v0``: those of `OneOptionConfig` and `FreeOrderConfig`.

    Attributes:
        n_decisions: D, the most decisions of an episode, at most T; None for 6, or T if that is
            less.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    task: ClassVar[str] = "focusgym.envs.tasks.glimpses:GlimpsesTask"


class Glimpse(NamedTuple):
    """What N actions mean.

    Attributes:
        segments: ``(N,)`` int64 to go to; any where an episode stops.
        stops: ``(N,)`` bool.
    """

    segments: NDArray[np.int64]
    stops: NDArray[np.bool_]


class GlimpsesTask(FreeOrderTask[GlimpsesConfig, Glimpse]):
    """Go to a place of the video that a number names, or stop. ``focusgym/Glimpses-v0``.

    There is no view of the whole video: f_G runs on the segments that are taken alone, and only if
    f_C takes glance vectors. What an agent knows comes from f_C's state.

    ## Action space
    ``Box(-1, 1, (2,))``. The first number x is a place in the video, of which the segment
    ``floor((x + 1) / 2 · T)`` is taken; a segment that was taken before is not taken again: such a
    decision changes nothing and spends the agent's own cost. The second number stops the episode if
    it is above 0, but not before anything was taken. Numbers outside are clipped.

    ## Reward
    The design's (by default the confidence that was gained, which adds up to the confidence at the
    end; ``final`` is whether the episode ends right) less ``price_per_gmac`` times what the
    decision spent.

    ## Episodes
    At most D decisions; they end with a stop or the last decision.

    Source: FrameGlimpses (arXiv:1511.06984): an agent that names the next place with Gaussian noise
        and says when to give a detection. It detects actions in time, and may give several
        detections; for recognition one prediction is left, with which an episode ends. Noise of
        0.08 of the video is 0.16 here.
    """

    @property
    def space(self) -> spaces.Space[NDArray[np.float32]]:
        """A place, and whether to stop."""
        return spaces.Box(-1.0, 1.0, (2,), np.float32)

    def make_timeline(self) -> Timeline:
        """Return D decisions; what is shown before each is the segment taken last."""
        check_option(self.config.option, self.allowed)
        steps, most = self.engine.cache.steps, self.config.n_decisions
        most = min(_MOST, steps) if most is None else most
        return Timeline.free(steps, most, glances="needed")

    def read(self, actions: ArrayLike) -> Glimpse:
        """Return where to go, and which episodes stop.

        Raises:
            ValueError: If they are not N pairs of finite numbers.
        """
        numbers, steps = checked_numbers(actions, (len(self.t), 2)), self.engine.cache.steps
        place = (numbers[:, 0].clip(-1, 1) + 1) / 2
        segments = np.minimum((place * steps).astype(np.int64), steps - 1)
        return Glimpse(segments, (numbers[:, 1] > 0) & self.can_stop())

    def decide(self, choice: Glimpse, episodes: Episodes) -> Decision:
        """Take the segments, or stop."""
        options = np.full(len(choice.stops), self.config.option)
        return self.go(choice.segments, options, choice.stops)
