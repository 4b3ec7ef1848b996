"""Any model of Stable-Baselines3 as an agent, to be compared with the others."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from ..envs import FocusEngine, Plan
from ..feature_cache import FeatureCache
from .learned import CHUNK


class ModelAgent:
    """What a model of Stable-Baselines3 or sb3-contrib does in every frame, without sampling.

    For models of either observation and of all action sets, recurrent ones included. It is asked
    without masks: what a maskable model was not allowed while it was trained, it may do here.

    Attributes:
        name: What reports call it.
    """

    runs_policy, tries_all = True, False

    def __init__(self, model: BaseAlgorithm, name: str) -> None:
        """Use a model that was trained on an environment of this cache.

        Args:
            model: Its ``predict`` is asked, deterministic.
            name: What reports call it.
        """
        self.name = name
        self._model = model

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``."""
        rows = [videos[start : start + CHUNK] for start in range(0, len(videos), CHUNK)]
        plans = [self._play(engine.cache, few) for few in rows]
        options = np.concatenate([plan.options for plan in plans])
        return Plan(options, np.concatenate([plan.attended for plan in plans]))

    def _play(self, cache: FeatureCache, videos: NDArray[np.int64]) -> Plan:
        chosen, looks, state = [], [], None
        indexed = isinstance(self._model.observation_space, spaces.Dict)
        for t in range(cache.steps):
            steps = np.full(len(videos), t)
            observations = (
                {"video": videos[:, None], "t": steps[:, None]}
                if indexed
                else cache.glance_map(videos, steps).flatten(1).cpu().numpy()
            )
            actions, state = self._model.predict(
                observations, state, episode_start=steps == 0, deterministic=True
            )
            if actions.ndim == 2:  # pairs: where, and whether
                options, attended = actions[:, 0], actions[:, 1] == 1
            else:  # K skips in the flat set, which names no option then
                attended = actions < cache.n_options
                options = np.where(attended, actions, -1)
            chosen.append(options.astype(np.int64))
            looks.append(attended)
        return Plan(np.stack(chosen, axis=1), np.stack(looks, axis=1))
