"""Any model of Stable-Baselines3 as an agent, to be compared with the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from ..envs import FocusEngine, Plan
from ..envs.tasks.actions import action_set_of
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
        parts = [self._play(engine.cache, few) for few in rows]
        return Plan(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _play(self, cache: FeatureCache, videos: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """Return options, where they are looked at and where one is named, ``(B, T)`` each."""
        choices, state = [], None
        face = action_set_of(self._model.action_space, cache.n_options)
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
            choices.append(face.choose(actions, len(videos)))
        columns = zip(*((each.options, each.looks, each.named) for each in choices), strict=True)
        return tuple(np.stack(column, axis=1) for column in columns)
