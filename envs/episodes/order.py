"""Which video an episode plays and what is drawn in it: functions of (seed, episode, step)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...recognizer import Purpose, generator

_BLOCK = 1024


class Episodes:
    """The episodes of N environments, of which i plays every Nth, beginning with episode i.

    Episode g plays video ``permutation(seed, g // n_videos)[g % n_videos]``: an epoch visits
    every video once, whatever N is. Every draw is keyed by (seed, episode, step), so that neither
    the number of environments nor their order changes it. A chosen video is played out of turn:
    its draws are keyed by (seed, environment, how many were chosen before, step), and the order
    goes on as if it had not been.

    Attributes:
        seed: Seed of the order of videos and of all other draws of the episodes.
        episodes: ``(N,)`` int64, the last episodes in turn.
        videos: ``(N,)`` int64, the videos being played.
        n_chosen: ``(N,)`` int64, chosen episodes so far.
        first: ``(N,)`` int64, the first episodes of a seed's order.
        stride: Episodes from one to the next of an environment.
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
        self.first, self.stride = first, stride
        self._shuffled = shuffled
        self.restart(seed)

    def restart(
        self,
        seed: int,
        episodes: NDArray[np.int64] | None = None,
        n_chosen: NDArray[np.int64] | None = None,
    ) -> None:
        """Go to where `advance` begins given episodes ``(N,)``; None: the first ones of a seed.

        Args:
            seed: Seed of everything.
            episodes: ``(N,)`` to begin.
            n_chosen: ``(N,)`` episodes that were chosen before; None for none.
        """
        self.seed = seed
        self.episodes = (self.first if episodes is None else episodes) - self.stride
        self.videos = np.full_like(self.first, -1)
        self.n_chosen = np.zeros_like(self.first) if n_chosen is None else n_chosen
        self._draws = np.empty((len(self.first), *self._draws_shape), dtype=np.int64)

    def advance(self, which: NDArray[np.bool_]) -> None:
        """Begin the next episode of the environments ``which``, ``(N,)``."""
        self.episodes = self.episodes + self.stride * which
        epochs, positions = np.divmod(self.episodes, len(self._rows))
        for epoch in np.unique(epochs[which]):
            of_epoch = which & (epochs == epoch)
            turn = positions[of_epoch]
            if self._shuffled:
                turn = _order(self.seed, int(epoch), len(self._rows))[turn]
            self.videos[of_epoch] = self._rows[turn]
        blocks, positions = np.divmod(self.episodes, _BLOCK)
        for block in np.unique(blocks[which]):
            of_block = which & (blocks == block)
            drawn = _draw(self.seed, int(block), self._draws_shape, len(self._options))
            self._draws[of_block] = self._options[drawn[positions[of_block]]]

    def choose(self, env: int, video: int) -> None:
        """Begin an episode of a chosen video in one environment, out of turn."""
        place = int(self.first[env]), int(self.n_chosen[env])
        rng = generator(Purpose.CHOSEN_EPISODE, self.seed, *place)
        self.n_chosen[env] += 1
        self.videos[env] = video
        self._draws[env] = rng.choice(self._options, size=self._draws_shape)

    def draws(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the random options ``(N, k)`` of a step ``(N,)`` of each episode, uniform."""
        drawn: NDArray[np.int64] = self._draws[np.arange(len(steps)), steps]
        return drawn


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, n_videos: int) -> NDArray[np.int64]:
    """Return the order of an epoch, ``(n_videos,)``."""
    return generator(Purpose.VIDEO_ORDER, seed, epoch).permutation(n_videos)


@lru_cache(maxsize=16)
def _draw(seed: int, block: int, shape: tuple[int, int], n_options: int) -> NDArray[np.int64]:
    """Return the draws ``(1024, D, k)`` of a block of episodes."""
    rng = generator(Purpose.RANDOM_OPTIONS, seed, block)
    return rng.integers(n_options, size=(_BLOCK, *shape))
