"""Which video an episode plays and what is drawn in it: functions of (seed, episode, step)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_ORDER, _DRAWS, _CHOSEN = 0, 1, 2
_BLOCK = 1024


class Episodes:
    """The episodes of N environments, of which i plays every Nth, beginning with episode i.

    Episode g plays video ``permutation(seed, g // n_videos)[g % n_videos]``: an epoch visits
    every video once, whatever N is. Every draw is keyed by (seed, episode, step), so that neither
    the number of environments nor their order changes it. A chosen video is played out of turn:
    its draws are keyed by (seed, video, step), and the order goes on as if it had not been.

    Attributes:
        episodes: ``(N,)`` int64, the last episodes in turn.
        videos: ``(N,)`` int64, the videos being played.
    """

    def __init__(
        self,
        videos: NDArray[np.int64],
        n_draws: int,
        steps: int,
        options: NDArray[np.int64],
        first: NDArray[np.int64],
        stride: int,
        seed: int,
        *,
        shuffled: bool = True,
    ) -> None:
        """Set up the first episodes; call `advance` to begin them.

        Args:
            videos: ``(n_videos,)`` rows to play.
            n_draws: Random options per step, k.
            steps: D, decisions of an episode.
            options: Those that may be drawn.
            first: ``(N,)`` first episode of each environment.
            stride: Episodes from one to the next of an environment.
            seed: Seed of everything.
            shuffled: Whether every epoch has an order of its own; else the videos' order.
        """
        self._rows = videos
        self._draws_shape = (steps, n_draws)
        self._options = options
        self._first, self._stride = first, stride
        self._shuffled = shuffled
        # Caches per object, not per class: nothing outlives the environment.
        self._order = lru_cache(maxsize=2)(self._make_order)
        self._block = lru_cache(maxsize=4)(self._make_block)
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Go back to the first episodes, under another seed."""
        self._seed = seed
        self._order.cache_clear()
        self._block.cache_clear()
        self.episodes = self._first - self._stride
        self.videos = np.full_like(self._first, -1)
        self._draws = np.empty((len(self._first), *self._draws_shape), dtype=np.int64)

    def advance(self, which: NDArray[np.bool_]) -> None:
        """Begin the next episode of the environments ``which``, ``(N,)``."""
        self.episodes = self.episodes + self._stride * which
        epochs, positions = np.divmod(self.episodes, len(self._rows))
        for epoch in np.unique(epochs[which]):
            of_epoch = which & (epochs == epoch)
            self.videos[of_epoch] = self._order(int(epoch))[positions[of_epoch]]
        blocks, positions = np.divmod(self.episodes, _BLOCK)
        for block in np.unique(blocks[which]):
            of_block = which & (blocks == block)
            self._draws[of_block] = self._block(int(block))[positions[of_block]]

    def choose(self, env: int, video: int) -> None:
        """Begin an episode of a chosen video in one environment, out of turn."""
        rng = np.random.default_rng([self._seed, _CHOSEN, video])
        self.videos[env] = video
        self._draws[env] = rng.choice(self._options, size=self._draws_shape)

    def draws(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the random options ``(N, k)`` of a step ``(N,)`` of each episode, uniform."""
        drawn: NDArray[np.int64] = self._draws[np.arange(len(steps)), steps]
        return drawn

    def _make_order(self, epoch: int) -> NDArray[np.int64]:
        if not self._shuffled:
            return self._rows
        return np.random.default_rng([self._seed, _ORDER, epoch]).permutation(self._rows)

    def _make_block(self, block: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, _DRAWS, block])
        return self._options[rng.integers(len(self._options), size=(_BLOCK, *self._draws_shape))]
