"""Agents that do not learn: the paper's fixed policies, and two bounds that know the truth."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..envs import FocusEngine


class Agent(Protocol):
    """Something that chooses where to look.

    Attributes:
        name: What reports call it.
        runs_policy: Whether π's compute is charged.
        tries_all: Whether f_L and f_C are charged for all K candidates.
    """

    name: str
    runs_policy: bool
    tries_all: bool

    def options(self, engine: FocusEngine, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the patches ``(B, T)`` to look at in videos ``(B,)`` of the engine's cache."""


class RandomAgent:
    """A patch candidate drawn uniformly for every frame.

    Source: AdaFocus (arXiv:2105.03245) Table 5, on the grid where the paper crops at any pixel.
    """

    name, runs_policy, tries_all = "random", False, False

    def __init__(self, seed: int) -> None:
        """Draw from ``seed``."""
        self._seed = seed

    def options(self, engine: FocusEngine, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return options ``(B, T)``."""
        rng = np.random.default_rng([self._seed, 2])
        return rng.integers(engine.cache.n_options, size=(len(videos), engine.cache.steps))


class CentralAgent:
    """The candidate nearest to the frame's centre, always.

    Source: AdaFocus (arXiv:2105.03245) Table 5.
    """

    name, runs_policy, tries_all = "central", False, False

    def options(self, engine: FocusEngine, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return options ``(B, T)``."""
        grid = engine.cache.grid
        center = grid.nearest(np.full(2, grid.frame_px / 2))
        return np.full((len(videos), engine.cache.steps), center, dtype=np.int64)


class GaussianAgent:
    """The candidate nearest to a normal draw around the frame's centre, σ = S/4 per axis.

    Source: AdaFocus (arXiv:2105.03245) Table 5, which leaves σ open.
    """

    name, runs_policy, tries_all = "gaussian", False, False

    def __init__(self, seed: int) -> None:
        """Draw from ``seed``."""
        self._seed = seed

    def options(self, engine: FocusEngine, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return options ``(B, T)``."""
        side = engine.cache.grid.frame_px
        rng = np.random.default_rng([self._seed, 3])
        centers = rng.normal(side / 2, side / 4, (len(videos), engine.cache.steps, 2))
        return engine.cache.grid.nearest(centers)


class TrueBoxAgent:
    """The candidate nearest to the true box of every frame, hidden or not: a bound."""

    name, runs_policy, tries_all = "true_box", False, False

    def __init__(self, centers_px: NDArray[np.floating]) -> None:
        """Take the centres ``(N, T, 2)`` of the boxes, (x, y) in pixels, for all cached videos."""
        self._centers_px = centers_px

    def options(self, engine: FocusEngine, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return options ``(B, T)``."""
        return engine.cache.grid.nearest(self._centers_px[videos])


class OracleAgent:
    """The candidate that gives the true label the highest confidence at each step: a bound.

    Greedy: it knows the label, tries all K candidates, and does not look ahead.
    """

    name, runs_policy, tries_all = "oracle", False, True

    def options(self, engine: FocusEngine, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return options ``(B, T)``; plays the episodes on the engine."""
        return engine.oracle(videos)
