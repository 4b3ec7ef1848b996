"""Cubes in any order: which segment next and where in it, or the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..episodes.order import Episodes
from .actions import check_allowed, checked_actions
from .free_order import FreeOrderConfig, FreeOrderTask
from .task import Decision
from .timelines import Timeline


@dataclass(frozen=True)
class CubesConfig(FreeOrderConfig):
    """The keywords of ``focusgym/Cubes-v0``: those of `FreeOrderConfig`.

    Attributes:
        observation: ``maps`` (the glance maps of all segments, f_C's state, what was taken and the
            prediction) or ``state`` (glance vectors in place of the maps).

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    task: ClassVar[str] = "focusgym.envs.tasks.cubes:CubesTask"
    observations: ClassVar[tuple[str, ...]] = ("maps", "state")

    observation: str = "maps"


class CubesTask(FreeOrderTask[CubesConfig, NDArray[np.int64]]):
    """Look at one place of any segment that was not taken yet, or stop. ``focusgym/Cubes-v0``.

    A cube is an option of a segment: a patch of one frame, or where segments have several frames,
    of all of them. f_G runs on the whole video when the episode begins: the maps are what the agent
    chooses by, and are charged with the first decision.

    ## Action space
    ``Discrete(T·K + 1)``: K·t + k for option k of segment t, or T·K to stop. One number, for where
    to look depends on the segment: two independent ones, as ``MultiDiscrete`` gives to most
    algorithms, could not name a segment with a place of its own until one of the two is certain. A
    segment that was taken before is not taken again: such a decision changes nothing and spends
    the agent's own cost. Stopping before anything was taken is not possible, and takes the middle
    one of the allowed options in the middle segment. ``action_masks()`` says both.

    ## Observation
    ``maps`` holds T·h·w·G numbers where ``state`` holds T·G, and a rollout of Stable-Baselines3
    keeps all of them in float32: 25 kB a decision for 12 frames of the digits, 4 MB for 16 frames
    of MobileNet-V2 at 224 px. There 256 decisions, such as 32 steps of 8 environments, take 1 GB.

    ## Reward
    The design's (by default the confidence that was gained, which adds up to the confidence at the
    end) less ``price_per_gmac`` times what the decision spent.

    ## Episodes
    At most D decisions; they end with a stop or the last decision.

    Source: AdaFocusV3 (arXiv:2209.13465) section 3.1: cubes in space and time, the most important
        ones first, until the prediction is sure. There they are all proposed at one time and
        trained by gradient; one decision after the other, and a stop that is learned, are ours.
    """

    @property
    def space(self) -> spaces.Space[np.int64]:
        """An option of a segment, or stop."""
        return spaces.Discrete(self._stop + 1)

    @property
    def _stop(self) -> int:
        return self.engine.cache.steps * self.engine.cache.n_options

    def make_timeline(self) -> Timeline:
        """Return D decisions; what is shown before each is the segment taken last."""
        return Timeline.free(self.engine.cache.steps, self.config.n_decisions)

    def masks(self) -> NDArray[np.bool_]:
        """Return ``(N, T·K + 1)``: allowed options of segments that were not taken, and stop."""
        cubes = ~self.seen[:, :, None] & self.allowed  # (N, T, K)
        return np.column_stack([cubes.reshape(len(cubes), -1), self.can_stop()])

    def read(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Return ``(N,)`` K·t + k for option k of segment t, T·K to stop."""
        stop, n_options = self._stop, self.engine.cache.n_options
        chosen = checked_actions(actions, (len(self.t),), (stop + 1,))
        check_allowed(chosen[chosen < stop] % n_options, self.allowed)
        too_early = (chosen == stop) & ~self.can_stop()
        options = np.flatnonzero(self.allowed)
        first = self.engine.cache.steps // 2 * n_options + options[len(options) // 2]
        return np.where(too_early, first, chosen)

    def decide(self, choice: NDArray[np.int64], episodes: Episodes) -> Decision:
        """Take the cubes, or stop."""
        segments, options = np.divmod(choice, self.engine.cache.n_options)
        return self.go(segments, options, choice == self._stop)
