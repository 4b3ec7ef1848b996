"""What the faces of the environment share: episodes in order, observations, checked actions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ..feature_cache import FeatureCache, read_classifier
from .engine import FocusEngine, Step
from .episodes import Episodes


@dataclass(frozen=True)
class EnvConfig:
    """What an environment is made of.

    Attributes:
        cache: Folder of the feature cache.
        classifier: Folder of the classifier bundle, trained on that cache.
        split: Which videos are played.
        observation: ``map`` (the glance map, flat) or ``index`` (which video and which step; the
            policy gathers the map from the cache itself).
        random_draws: k of Eq. 7's expectation (1 in the paper); None compares with all K.
        seed: Seed until a reset gives another.
        group: Name of the cache's option group; needed where it holds several.

    Raises:
        ValueError: If the observation is unknown or ``random_draws`` is not positive.
    """

    cache: str | os.PathLike[str]
    classifier: str | os.PathLike[str]
    split: str = "train"
    observation: str = "map"
    random_draws: int | None = 1
    seed: int = 0
    group: str | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.observation not in ("map", "index"):
            raise ValueError(f"observation must be 'map' or 'index'; got {self.observation!r}")
        if self.random_draws is not None and self.random_draws < 1:
            raise ValueError(
                "random_draws must be at least 1, or None for all candidates; got "
                f"{self.random_draws}"
            )


class Player:
    """N episodes in step: resets, steps and observes; the faces only translate.

    Attributes:
        cache: The feature cache.
        n_envs: N.
        observation_space: Of one environment.
        action_space: Of one environment: the patch candidates.
        episodes: Which episodes are being played.
    """

    def __init__(self, config: EnvConfig, first: NDArray[np.int64], stride: int) -> None:
        """Open cache and classifier.

        Args:
            config: What to play.
            first: ``(N,)`` first episode of each environment.
            stride: Episodes from one to the next of an environment.

        Raises:
            CacheError: If the cache cannot be opened or has no such split.
            BundleError: If the classifier cannot be read or belongs to another cache.
        """
        self.cache = FeatureCache.open(config.cache, config.group)
        classifier = read_classifier(config.classifier, self.cache.fingerprint)
        self._engine = FocusEngine(self.cache, classifier)
        self._config = config
        self.n_envs = len(first)
        self.action_space = spaces.Discrete(self.cache.n_options)
        self.observation_space = self._make_observation_space()
        self.episodes = Episodes(
            self.cache.split(config.split),
            config.random_draws or 0,
            self.cache.steps,
            self.cache.n_options,
            first,
            stride,
            config.seed,
        )

    @property
    def t(self) -> int:
        """Index of the decision to be made next; T when the episodes are over."""
        return self._engine.t

    @property
    def done(self) -> bool:
        """Whether the episodes are over."""
        return self._engine.t == self.cache.steps

    def start(self) -> None:
        """Begin the next episode of every environment."""
        self.episodes.advance()
        self._engine.start(self.episodes.videos.copy())

    def step(self, options: ArrayLike) -> Step:
        """Make one decision in every environment.

        Args:
            options: ``(N,)`` integers in ``[0, K)``.

        Raises:
            ValueError: If an action is not in the action space, or the shape is wrong.
            RuntimeError: If no episode was begun, or the last one is over.
        """
        chosen = np.asarray(options)
        expected = f"{self.n_envs} integer action(s) in [0, {self.cache.n_options})"
        if chosen.shape != (self.n_envs,) or not np.issubdtype(chosen.dtype, np.integer):
            raise ValueError(f"expected {expected}; got {chosen.dtype} of shape {chosen.shape}")
        if chosen.min() < 0 or chosen.max() >= self.cache.n_options:
            raise ValueError(
                f"expected {expected}; got values from {chosen.min()} to {chosen.max()}"
            )
        if not len(self._engine.videos) or self.done:
            raise RuntimeError("no episode is running: call reset() before step()")
        exact = self._config.random_draws is None
        return self._engine.step(chosen, None if exact else self.episodes.draws(self.t))

    def observe(self) -> Any:
        """Return the N observations; after the last decision, the last ones again."""
        t = min(self.t, self.cache.steps - 1)
        videos = self._engine.videos
        if self._config.observation == "map":
            return self.cache.glance_map(videos, t).flatten(1).numpy()
        return {"video": videos[:, None].copy(), "t": np.full((self.n_envs, 1), t, dtype=np.int64)}

    def _make_observation_space(self) -> spaces.Space[Any]:
        if self._config.observation == "map":
            low, high = self.cache.manifest["glance_map_range"]
            return spaces.Box(low, high, (int(np.prod(self.cache.map_shape)),), np.float32)
        return spaces.Dict(
            {
                "video": spaces.Box(0, self.cache.n_videos - 1, (1,), np.int64),
                "t": spaces.Box(0, self.cache.steps - 1, (1,), np.int64),
            }
        )
