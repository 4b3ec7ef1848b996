"""Any agent step by step: what it plans is acted out in an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..envs import FocusEngine
from .fixed import Agent


class StepwiseAgent:
    """An agent that acts in environments, as a model of Stable-Baselines3 does; see `play_task`.

    For environments with the observation ``index`` whose actions are options, options and K to
    skip, or pairs of an option and whether to look. It plans all videos once, and finds an action
    by its video and segment.
    """

    def __init__(
        self, agent: Agent, engine: FocusEngine, videos: NDArray[np.int64], space: spaces.Space[Any]
    ) -> None:
        """Let an agent plan.

        Args:
            agent: The agent.
            engine: Over the cache and f_C.
            videos: ``(B,)`` rows of the cache, all that the environments play.
            space: Of an environment's actions: where an action cannot say not to look, the agent
                has to look everywhere.

        Raises:
            ValueError: If the agent does not, and the actions cannot say so.
        """
        plan = agent.plan(engine, videos)
        self._row = {video: row for row, video in enumerate(videos.tolist())}
        self._pairs = isinstance(space, spaces.MultiDiscrete)
        n_options = engine.cache.n_options
        skips = isinstance(space, spaces.Discrete) and space.n == n_options + 1
        if not self._pairs and not skips and not plan.attended.all():
            raise ValueError(
                f"{agent.name} does not look everywhere, which actions of {space} cannot say: "
                "play it in focusgym/AdaFocusPlus-v0"
            )
        # Where it does not look, pairs still name an option: one that it names elsewhere.
        unseen = n_options if skips else int(plan.options[plan.attended].min(initial=n_options - 1))
        named = plan.attended | (self._pairs & (plan.options >= 0))
        self._options, self._attended = np.where(named, plan.options, unseen), plan.attended

    def predict(
        self,
        observation: Mapping[str, NDArray[np.int64]],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], Any]:
        """Return the actions ``(N,)``, or ``(N, 2)`` in pairs, for N observations, and the state.

        Args:
            observation: ``video`` and ``t``, ``(N, 1)`` each.
            state: Returned as it is: what was planned does not change.
            episode_start: Not used.
            deterministic: Not used: an agent draws when it plans.

        Raises:
            ValueError: If a video was not planned.
        """
        videos, segments = observation["video"][:, 0].tolist(), observation["t"][:, 0]
        unknown = sorted(set(videos) - self._row.keys())
        if unknown:
            raise ValueError(
                f"expected videos that were planned; got {unknown}: give all that are played"
            )
        rows = np.array([self._row[video] for video in videos])
        options = self._options[rows, segments]
        if not self._pairs:
            return options, state
        return np.stack([options, self._attended[rows, segments]], axis=1), state
