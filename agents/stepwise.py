"""Any agent step by step: what it plans is acted out in an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..envs import FocusEngine
from ..envs.tasks.actions import action_set_of
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
            ValueError: If the agent does not, and the actions cannot say so; or they are no such
                actions.
        """
        plan = agent.plan(engine, videos)
        self._row = {video: row for row, video in enumerate(videos.tolist())}
        self._actions = action_set_of(space, engine.cache.n_options)
        if not self._actions.can_skip and not plan.attended.all():
            raise ValueError(
                f"{agent.name} does not look everywhere, which actions of {space} cannot say: "
                "play it in focusgym/AdaFocusPlus-v0"
            )
        self._options, self._attended = plan.options, plan.attended
        if plan.named is not None:  # pairs name an option everywhere: one that it names elsewhere
            some = plan.options[plan.named].min(initial=engine.cache.n_options - 1)
            self._options = np.where(plan.named, plan.options, some)

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
        options, attended = self._options[rows, segments], self._attended[rows, segments]
        return self._actions.actions_for(options, attended), state
