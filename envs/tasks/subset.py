"""Subsets: one decision chooses all segments that are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..config import EnvConfig, check_integer
from ..episodes.order import Episodes
from .actions import checked_numbers
from .priced import check_option
from .task import Decision, Look, Task
from .timelines import Timeline, uniform_segments


@dataclass(frozen=True)
class SubsetConfig(EnvConfig):
    """The keywords of ``focusgym/Subset-v0``: those of `EnvConfig`, and two more.

    Attributes:
        n_segments: K_s, how many of the T segments are looked at.
        option: The option that f_L is run on in them, in ``[0, K)``.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    task: ClassVar[str] = "focusgym.envs.tasks.subset:SubsetTask"
    observations: ClassVar[tuple[str, ...]] = ("state",)

    observation: str = "state"
    n_segments: int = 2
    option: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check_integer("n_segments", self.n_segments, 1)
        check_integer("option", self.option, 0)


class SubsetTask(Task[SubsetConfig, NDArray[np.int64]]):
    """Choose K_s segments at once, without replacement. ``focusgym/Subset-v0``.

    f_G runs on all segments first; f_C is then fed the chosen ones alone, in the video's order.

    ## Action space
    ``Box(-1, 1, (T,))``: a score per segment; the K_s highest are taken, of equals the earlier. So
    a Gaussian policy draws subsets without replacement, as Gumbel's noise on logits would, as long
    as its noise is small beside the box. Stable-Baselines3 clips scores to it: with a standard
    deviation of 1 about a third of them are −1 or 1, and equal, so that earlier segments are drawn
    more often (the first of six at 0.22 in place of 1/6, the last at 0.13). ``log_std_init`` -1 in
    its ``policy_kwargs``, as in the preset ``ocsampler``, evens this out.

    ## Reward
    By default the confidence after the subset less that after K_s uniformly spread segments
    (``increment_over_random`` with its one draw); others see `make_design`.

    ## Episodes
    One decision.

    Source: OCSampler (arXiv:2201.04388): one decision per video, rewarded against a uniform sample.
        It draws from a Plackett-Luce distribution; scores with noise are ours.
    """

    compares: ClassVar[bool] = True

    @property
    def space(self) -> spaces.Space[NDArray[np.float32]]:
        """Scores."""
        return spaces.Box(-1.0, 1.0, (self.engine.cache.steps,), np.float32)

    def make_timeline(self) -> Timeline:
        """Return the one decision."""
        steps = self.engine.cache.steps
        if self.config.n_segments > steps:
            raise ValueError(
                f"n_segments must be in 1..{steps}, the segments of a video; got "
                f"{self.config.n_segments}"
            )
        if self.design.draws not in (0, 1) or self.design.compares_skip:
            raise ValueError(
                "a subset is compared with one other, that of uniformly spread segments; the "
                f"reward {self.config.reward!r} asks for others: choose increment_over_random with "
                "draws 1, or one that compares with nothing"
            )
        check_option(self.config.option, self.allowed)
        return Timeline.once()

    def read(self, actions: ArrayLike) -> NDArray[np.int64]:
        """Return the K_s segments of the highest scores, ``(N, K_s)``, in the video's order.

        Raises:
            ValueError: If they are not N times T finite scores.
        """
        scores = checked_numbers(actions, self.seen.shape, "scores")
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.config.n_segments]
        return np.sort(best, axis=1).astype(np.int64)

    def decide(self, choice: NDArray[np.int64], episodes: Episodes) -> Decision:
        """Feed f_C the segments one after the other; compare with the uniform subset."""
        n_envs, steps = self.seen.shape
        over, random = np.ones(n_envs, dtype=bool), None
        if self.design.draws:
            uniform = uniform_segments(self.config.n_segments, steps)
            self._feed(np.tile(uniform, (n_envs, 1)))
            random = self.engine.confidence[:, None]
            self.engine.restart()
        self.pay(self.glance_gmacs(over) + self.prices.cost.policy_gmacs)
        looks = self._feed(choice, pays=True)
        self.move_on()
        self.seen[np.arange(n_envs)[:, None], choice] = True
        rewards = self.reward(
            chosen=self.engine.confidence.clone(),
            previous=self.engine.confidence.new_zeros(n_envs),
            logits=self.engine.logits,
            options=np.full(n_envs, self.config.option),
            named=over,
            last=over,
            random=random,
        )
        return Decision(tuple(looks), rewards, over)

    def _feed(self, subsets: NDArray[np.int64], *, pays: bool = False) -> list[Look]:
        """Feed f_C segments ``(N, K_s)`` in their order; return what became of each."""
        n_envs = len(subsets)
        options, every = np.full(n_envs, self.config.option), np.ones(n_envs, dtype=bool)
        looks = []
        for segments in subsets.T:
            self.engine.commit(self.engine.try_options(segments, options[:, None]))
            if pays:
                self.pay(self.prices.of_looks(options, every, every))
            logits, confidence = self.engine.logits, self.engine.confidence
            looks.append(
                Look(segments, options, every, every, every, logits, confidence, self.gmacs)
            )
        return looks
