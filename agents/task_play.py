"""A model of Stable-Baselines3 in any environment, video by video: accuracy and cost."""

from __future__ import annotations

from inspect import signature
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..envs import make_sb3

N_ENVS = 256  # videos at a time: memory does not grow with their number


class Predictor(Protocol):
    """What acts in an environment; every algorithm of Stable-Baselines3 and sb3-contrib does."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Return actions for N observations, and the state after them."""


def play_task(
    model: Predictor, env_id: str, *, split: str = "test", deterministic: bool = True, **config: Any
) -> pd.DataFrame:
    """Let a model play every video of a split once.

    Args:
        model: Its ``predict`` is asked step by step, with its own state where it has one, and with
            masks of the possible actions where it takes them (``MaskablePPO``).
        env_id: Such as ``focusgym/Exit-v0``.
        split: Which videos.
        deterministic: Whether the most probable action is taken, or one is drawn.
        **config: Keywords of the environment, as for `make_sb3`: those that the model was trained
            with.

    Returns:
        A row per video, in the cache's order: ``video_id``; ``correct``, whether the prediction at
        the end is right; ``confidence`` on the true label; ``gmacs``, the cost; ``decisions``; and
        ``episode_return``.

    Raises:
        ValueError: If the id is unknown, or a value is out of range.
        CacheError: If the cache cannot be opened or has no such split.
    """
    probe = make_sb3(env_id, 1, split=split, **config)
    videos = probe.player.cache.split(split)
    parts = [videos[start : start + N_ENVS] for start in range(0, len(videos), N_ENVS)]
    rows = [row for part in parts for row in _play(model, env_id, part, deterministic, config)]
    return pd.DataFrame(rows)


def _play(
    model: Predictor,
    env_id: str,
    videos: NDArray[np.int64],
    deterministic: bool,
    config: dict[str, Any],
) -> list[dict[str, Any]]:
    """Play each video in an environment of its own; what begins after its end is not looked at."""
    asked = {**config, "split": None, "videos": videos.tolist(), "order": "listed"}
    env = make_sb3(env_id, len(videos), **asked)
    masked = "action_masks" in signature(model.predict).parameters
    found: dict[int, dict[str, Any]] = {}
    observations, state = env.reset(), None
    begins = np.ones(len(videos), dtype=bool)
    while len(found) < len(videos):
        masks = {"action_masks": env.action_masks()} if masked else {}
        actions, state = model.predict(
            observations, state, begins, deterministic=deterministic, **masks
        )
        observations, _, begins, infos = env.step(actions)
        for i in np.flatnonzero(begins).tolist():
            if i not in found:
                keys = ("video_id", "correct", "confidence", "gmacs", "episode_return")
                found[i] = {key: infos[i][key] for key in keys}
                found[i]["decisions"] = infos[i]["episode_length"]
    return [found[i] for i in range(len(videos))]
