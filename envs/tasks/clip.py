"""Clips: one decision, where to look in all frames of a video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..config import EnvConfig, check_one_of
from ..engine.clips import try_clips
from ..engine.engine import FocusEngine
from ..engine.interpolated import grid_of, nearest_options
from ..episodes.order import Episodes
from .actions import PatchActions
from .boxes import checked_centers
from .prices import Prices
from .task import Decision, Look, Task
from .timelines import Timeline


@dataclass(frozen=True)
class ClipConfig(EnvConfig):
    """The keywords of ``focusgym/Clip-v0``: those of `EnvConfig`, and one more.

    Attributes:
        observation: ``maps`` (the glance maps of all segments), ``state`` (their glance vectors),
            ``map`` (the map of the first one, which is all where a video is one segment) or
            ``index``.
        actions: ``options``, or ``centers``, of which the nearest option is taken.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    task: ClassVar[str] = "focusgym.envs.tasks.clip:ClipTask"
    observations: ClassVar[tuple[str, ...]] = ("maps", "state", "map", "index")

    observation: str = "maps"
    actions: str = "options"

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check_one_of("actions", self.actions, ("options", "centers"))


class ClipTask(Task[ClipConfig, NDArray[np.int64]]):
    """Choose one place, and look there in all segments of a video. ``focusgym/Clip-v0``.

    f_G runs on the whole video first. Where the encoders shift channels along the frames of a clip,
    a video is one segment, and every option of it was read by itself when the cache was built: what
    it comes to is exact.

    ## Action space
    ``Discrete(K)``: option ``n*row + col``, a patch of the cache's n×n grid. With
    ``actions="centers"`` ``Box(0, 1, (2,))``: the centre (x, y) of a box, see `Boxes`, of which the
    nearest option is taken, so that nothing is interpolated.

    ## Reward
    By default the confidence on the true label at the end of the video, less that after looking at
    a random option in all of its segments (Eq. 7); others by name, or a function of your own, see
    `make_design`.

    ## Episodes
    One decision.

    Source: AdaFocus (arXiv:2105.03245) section 4.2: "we let AdaFocus generate a single patch
        location for the whole video". The released code's actions are two real numbers, and what is
        cut out there is no option of a grid.
    """

    compares: ClassVar[bool] = True

    def __init__(
        self,
        config: ClipConfig,
        engine: FocusEngine,
        prices: Prices,
        allowed: NDArray[np.bool_],
        n_envs: int,
    ) -> None:
        """Set up N episodes; see `Task`.

        Raises:
            ValueError: If centres are asked for, and the options are not one grid of patches, or
                some are not allowed.
        """
        super().__init__(config, engine, prices, allowed, n_envs)
        if config.actions == "centers" and not allowed.all():
            raise ValueError(
                "a centre may be anywhere: leave options_allowed out, or take actions='options'"
            )
        self._options = PatchActions(allowed)
        self._grid = grid_of(engine.cache) if config.actions == "centers" else None

    @property
    def space(self) -> spaces.Space[Any]:
        """An option, or a centre."""
        if self._grid is not None:
            return spaces.Box(0.0, 1.0, (2,), np.float32)
        return self._options.space

    def make_timeline(self) -> Timeline:
        """Return the one decision."""
        return Timeline.once()

    def masks(self) -> NDArray[np.bool_]:
        """Return the allowed options ``(N, K)``.

        Raises:
            RuntimeError: If actions are centres.
        """
        if self._grid is not None:
            return super().masks()
        return self._options.masks(np.ones((len(self.t), len(self.allowed)), dtype=bool))

    def read(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Return the options ``(N,)``."""
        if self._grid is None:
            return self._options.choose(actions, len(self.t)).options
        return nearest_options(self._grid, checked_centers(actions, len(self.t)))

    def decide(self, choice: NDArray[np.int64], episodes: Episodes) -> Decision:
        """Look at the option in all segments; compare with others, if the reward does."""
        n_envs = len(choice)
        draws, engine = self.design.draws, self.engine
        if draws is None:
            others = [np.tile(np.flatnonzero(self.allowed), (n_envs, 1))]
        else:
            others = [episodes.draws(self.t)] if draws else []
        unseen = self.rewarded and self.design.compares_skip
        if unseen:
            others.append(choice[:, None])
        compared = None
        if others:
            options = np.concatenate(others, axis=1)  # (N, M)
            attended = np.ones(options.shape, dtype=bool)
            attended[:, -1] = not unseen
            compared = try_clips(engine, options, attended).confidences
        over = np.ones(n_envs, dtype=bool)
        self.pay(self.glance_gmacs(over) + self.prices.cost.policy_gmacs)
        looks = self._look(choice)
        self.move_on()
        self.seen[:] = True
        random = compared
        if compared is not None and unseen:
            random = compared[:, :-1] if draws != 0 else None
        rewards = self.reward(
            chosen=engine.confidence.clone(),
            previous=engine.confidence.new_zeros(n_envs),
            logits=engine.logits,
            options=choice,
            named=over,
            last=over,
            random=random,
            skip=compared[:, -1] if compared is not None and unseen else None,
        )
        return Decision(tuple(looks), rewards, over)

    def _look(self, options: NDArray[np.int64]) -> list[Look]:
        """Look at options ``(N,)`` in all segments; return what became of each."""
        every, looks = np.ones(len(options), dtype=bool), []
        for t in range(self.engine.cache.steps):
            segments = np.full(len(options), t)
            self.engine.commit(self.engine.try_options(segments, options[:, None]))
            self.pay(self.prices.of_looks(options, every, every))
            logits, confidence = self.engine.logits, self.engine.confidence
            looks.append(
                Look(segments, options, every, every, every, logits, confidence, self.gmacs)
            )
        return looks
