"""Agents that do not learn: the paper's fixed policies, a fixed box, frames spread uniformly."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..envs import FocusEngine, Plan, uniform_segments
from ..recognizer import Purpose, confidence, generator

_CHUNK = 256  # videos at a time: memory does not grow with B


class Agent(Protocol):
    """Something that chooses where to look, and whether.

    Attributes:
        name: What reports call it.
        runs_policy: Whether the policy network's compute is charged.
        tries_all: Whether f_L and f_C are charged for all K options.
    """

    name: str
    runs_policy: bool
    tries_all: bool

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)`` of the engine's cache."""


class RandomAgent:
    """An option drawn uniformly for every frame.

    Source: AdaFocus (arXiv:2105.03245) Table 5, on the grid where the paper crops at any pixel.
    """

    name, runs_policy, tries_all = "random", False, False

    def __init__(self, seed: int) -> None:
        """Draw from ``seed``."""
        self._seed = seed

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``."""
        rng = generator(Purpose.RANDOM_AGENT, self._seed)
        shape = (len(videos), engine.cache.steps)
        return Plan.everywhere(rng.integers(engine.cache.n_options, size=shape))


class CentralAgent:
    """The option nearest to the frame's centre, always.

    Source: AdaFocus (arXiv:2105.03245) Table 5.
    """

    name, runs_policy, tries_all = "central", False, False

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``."""
        places = engine.cache.places
        center = places.nearest(np.full(2, places.frame_px / 2))
        shape = (len(videos), engine.cache.steps)
        return Plan.everywhere(np.full(shape, center, dtype=np.int64))


class GaussianAgent:
    """The option nearest to a normal draw around the frame's centre, σ = S/4 per axis.

    Source: AdaFocus (arXiv:2105.03245) Table 5, which leaves σ open.
    """

    name, runs_policy, tries_all = "gaussian", False, False

    def __init__(self, seed: int) -> None:
        """Draw from ``seed``."""
        self._seed = seed

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``."""
        side = engine.cache.places.frame_px
        rng = generator(Purpose.GAUSSIAN_AGENT, self._seed)
        centers = rng.normal(side / 2, side / 4, (len(videos), engine.cache.steps, 2))
        return Plan.everywhere(engine.cache.places.nearest(centers))


class FixedAgent:
    """A fixed box: the same option in every frame of every video; see `best_fixed_option`."""

    name, runs_policy, tries_all = "fixed", False, False

    def __init__(self, option: int) -> None:
        """Take the option, in ``[0, K)`` of the caches it is played on."""
        self._option = option

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``.

        Raises:
            ValueError: If the cache has no such option.
        """
        if not 0 <= self._option < engine.cache.n_options:
            raise ValueError(
                f"expected a fixed option in [0, {engine.cache.n_options}) of this cache; got "
                f"{self._option}: take the best_fixed_option of this cache"
            )
        shape = (len(videos), engine.cache.steps)
        return Plan.everywhere(np.full(shape, self._option, dtype=np.int64))


def best_fixed_option(engine: FocusEngine, videos: NDArray[np.int64]) -> int:
    """Return the option that gives the highest confidence when all frames are looked at there.

    What fixed looking can reach at best, if it is chosen on other videos than it is measured on.

    Args:
        engine: Plays K times T decisions in each video.
        videos: ``(B,)`` rows to choose on, such as those of the validation split.

    Returns:
        The option with the highest confidence, averaged over videos and steps; the first of equals.

    Raises:
        ValueError: If there are no videos.
    """
    if not len(videos):
        raise ValueError("expected videos to choose the best fixed option on; got none: give rows")
    return int(fixed_confidences(engine, videos).mean(axis=0).argmax())


def fixed_confidences(engine: FocusEngine, videos: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the confidence ``(B, K)`` that each fixed box gives in each video, mean over steps.

    Args:
        engine: Plays K times T decisions in each video, some videos at a time.
        videos: ``(B,)`` rows.
    """
    n_options, steps = engine.cache.n_options, engine.cache.steps
    sure = np.empty((len(videos), n_options))
    for start in range(0, len(videos), _CHUNK):
        some = videos[start : start + _CHUNK]
        for option in range(n_options):
            logits = engine.rollout(some, np.full((len(some), steps), option))
            means = confidence(logits, engine.labels).double().mean(dim=1)
            sure[start : start + _CHUNK, option] = means.cpu().numpy()
    return sure


class UniformFramesAgent:
    """Looks where another agent looks, in k frames spread uniformly, and skips the rest.

    The k frames are the middle ones of k equal segments, ``floor((i + 0.5) * T / k)``. It shows
    what choosing frames by their content is worth: f_L does as much, in frames chosen blindly. A
    frame that the other agent skips stays skipped.

    Attributes:
        name: ``uniform_k``, such as ``uniform_8``.
        runs_policy: As of the agent that says where.
        tries_all: As of the agent that says where.
    """

    def __init__(self, k: int, where: Agent) -> None:
        """Look in k frames, 0 to T, where an agent says."""
        self.name = f"uniform_{k}"
        self.runs_policy = where.runs_policy
        self.tries_all = where.tries_all
        self._k = k
        self._where = where

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``.

        Raises:
            ValueError: If k is not in 0 to T of the cache.
        """
        steps = engine.cache.steps
        if not 0 <= self._k <= steps:
            raise ValueError(
                f"expected k in 0 to {steps}, the frames of a video of this cache; got {self._k}"
            )
        frames = uniform_segments(self._k, steps)
        plan = self._where.plan(engine, videos)
        return Plan(plan.options, plan.attended & np.isin(np.arange(steps), frames), plan.named)
