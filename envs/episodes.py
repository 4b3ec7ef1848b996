"""Which video an episode plays and what is drawn in it: functions of (seed, episode, step)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_ORDER, _DRAWS = 0, 1
_BLOCK = 1024


class Episodes:
    """The episodes of N environments, of which i plays every Nth, beginning with episode i.

    Episode g plays video ``permutation(seed, g // n_videos)[g % n_videos]``: an epoch visits
    every video once, whatever N is. Every draw is keyed by (seed, episode, step), so that neither
    the number of environments nor their order changes it.

    Attributes:
        episodes: ``(N,)`` int64, the episodes being played.
        videos: ``(N,)`` int64, their videos.
    """

    def __init__(
        self,
        videos: NDArray[np.int64],
        n_draws: int,
        steps: int,
        n_options: int,
        first: NDArray[np.int64],
        stride: int,
        seed: int,
    ) -> None:
        """Set up the first episodes; call `advance` to begin them.

        Args:
            videos: ``(n_videos,)`` rows to play.
            n_draws: Random options per step, k.
            steps: D, decisions of an episode.
            n_options: K.
            first: ``(N,)`` first episode of each environment.
            stride: Episodes from one to the next of an environment.
            seed: Seed of everything.
        """
        self._rows = videos
        self._draws_shape = (steps, n_draws)
        self._n_options = n_options
        self._first, self._stride = first, stride
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
        self.videos = np.empty_like(self._first)
        self._draws = np.empty((len(self._first), *self._draws_shape), dtype=np.int64)

    def advance(self) -> None:
        """Begin the next episode of every environment."""
        self.episodes = self.episodes + self._stride
        epochs, positions = np.divmod(self.episodes, len(self._rows))
        for epoch in np.unique(epochs):
            of_epoch = epochs == epoch
            self.videos[of_epoch] = self._order(int(epoch))[positions[of_epoch]]
        blocks, positions = np.divmod(self.episodes, _BLOCK)
        for block in np.unique(blocks):
            of_block = blocks == block
            self._draws[of_block] = self._block(int(block))[positions[of_block]]

    def draws(self, step: int) -> NDArray[np.int64]:
        """Return the random options ``(N, k)`` of a step, uniform over the K candidates."""
        return self._draws[:, step]

    def _make_order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, _ORDER, epoch]).permutation(self._rows)

    def _make_block(self, block: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self._seed, _DRAWS, block])
        return rng.integers(self._n_options, size=(_BLOCK, *self._draws_shape))
