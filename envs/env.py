"""The Gymnasium face: one episode at a time."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np

from .player import EnvConfig, Player


class AdaFocusEnv(gymnasium.Env[Any, np.int64]):
    """Choose where to look in every frame of a video.

    ## Action space
    ``Discrete(K)``: patch candidate ``n*row + col`` of the cache's n×n grid.

    ## Observation space
    ``map``: the glance map of the current frame, flat ``(h·w·G,)`` float32, channels last.
    ``index``: ``{"video": (1,), "t": (1,)}`` int64, for policies that read the cache themselves.
    After the last decision the last observation is repeated.

    ## Reward
    The confidence on the true label after looking, less that after looking at a random patch
    instead, everything before being the same (AdaFocus, arXiv:2105.03245, Eq. 7).

    ## Episodes
    One video, T decisions, then ``terminated``; never ``truncated``. Every video is played once
    before any is repeated; ``reset(seed=...)`` begins a new order.

    ## Info
    ``video_id`` (row of the cache), ``label``, and after a step ``confidence``, ``correct`` and
    ``box_px`` (left, top, right, bottom).
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's declaration)

    def __init__(
        self,
        cache: str | os.PathLike[str],
        classifier: str | os.PathLike[str],
        split: str = "train",
        observation: str = "map",
        random_draws: int | None = 1,
        seed: int = 0,
        first_episode: int = 0,
        episode_stride: int = 1,
        group: str | None = None,
    ) -> None:
        """Open the environment; see `EnvConfig` for the arguments and `Player` for the errors.

        Args:
            cache: Folder of the feature cache.
            classifier: Folder of the classifier bundle.
            split: Which videos are played.
            observation: ``map`` or ``index``.
            random_draws: k of Eq. 7's expectation; None for all K.
            seed: Seed until ``reset`` gives another.
            first_episode: First episode to play; with ``episode_stride`` N this is environment
                ``first_episode`` of a batch of N.
            episode_stride: Episodes from one to the next.
            group: Name of the cache's option group; needed where it holds several.

        Raises:
            ValueError: If a number is out of range.
        """
        if first_episode < 0 or episode_stride < 1:
            raise ValueError(
                "first_episode must be at least 0 and episode_stride at least 1; got "
                f"{first_episode} and {episode_stride}"
            )
        config = EnvConfig(cache, classifier, split, observation, random_draws, seed, group)
        self._player = Player(config, np.array([first_episode]), episode_stride)
        self.observation_space = self._player.observation_space
        self.action_space = self._player.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode, or, given a seed, the first one of that seed's order."""
        super().reset(seed=seed)
        if seed is not None:
            self._player.episodes.restart(seed)
        self._player.start()
        return self._observe(), self._info()

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Look at one patch; see `Player.step` for the errors."""
        step = self._player.step(np.asarray(action).reshape(1))
        info = self._info()
        info["confidence"] = float(step.confidence[0])
        info["correct"] = int(step.logits[0].argmax()) == info["label"]
        info["box_px"] = tuple(self._player.cache.grid.boxes_px[int(action)].tolist())
        return self._observe(), float(step.reward[0]), self._player.done, False, info

    def _observe(self) -> Any:
        batch = self._player.observe()
        return (
            {key: rows[0] for key, rows in batch.items()} if isinstance(batch, dict) else batch[0]
        )

    def _info(self) -> dict[str, Any]:
        video = int(self._player.episodes.videos[0])
        return {"video_id": video, "label": int(self._player.cache.labels[video])}
