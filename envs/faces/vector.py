"""Gymnasium's vector face: N episodes at once, stepped by one batched engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ..config import check_integer, make_config
from ..core import Player
from ..records.outcome import Columns, row_observation
from ..records.record import EpisodeRecord
from ..tasks.registry import config_class
from .env import check_options, checked_render_mode
from .spec import WithSpec


class FocusVectorEnv(WithSpec, VectorEnv[Any, Any, NDArray[Any]]):
    """N environments ``focusgym/TASK-v0`` in step with each other.

    The same episodes as N `FocusEnv` with ``first_episode=i, episode_stride=N``, and infos as
    Gymnasium's own vector environments give them: an array per key, and its mask ``_key``. With
    ``SAME_STEP`` autoreset the last observation and info of an episode are in ``final_obs`` and
    ``final_info``, and the next episode has begun. With ``DISABLED`` the caller resets, all or with
    ``options={"reset_mask": (N,) bool}``. One seed fixes the order of all environments.

    Attributes:
        autoreset_mode: When the next episodes begin; also in ``metadata``.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        task: str = "AdaFocus",
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **config: Any,
    ) -> None:
        """Open the environments; see `Player` for the errors.

        Args:
            num_envs: N.
            task: Which environments: one of `TASKS`, or ``module:attribute`` of the class of a
                task's keywords.
            autoreset_mode: ``SameStep`` or ``Disabled``.
            max_episode_steps: Decisions after which an episode is truncated, as by Gymnasium's
                ``TimeLimit``; None, or −1 as in ``gymnasium.make``, for no limit.
            render_mode: ``rgb_array``, or None.
            **config: As for the single environment.

        Raises:
            ValueError: If a value is out of range.
            TypeError: If a keyword is unknown, or ``cache`` or ``classifier`` is missing.
        """
        check_integer("num_envs", num_envs, 1)
        modes = (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)
        if autoreset_mode not in (*modes, *(mode.value for mode in modes)):
            raise ValueError(
                f"autoreset_mode must be 'SameStep' or 'Disabled'; got {autoreset_mode!r} "
                "('NextStep' would spend a step of every episode on resetting)"
            )
        mode = AutoresetMode(autoreset_mode)
        if max_episode_steps is None or max_episode_steps == -1:
            max_episode_steps = int(np.iinfo(np.int64).max)
        check_integer("max_episode_steps", max_episode_steps, 1)
        self._most_steps = max_episode_steps
        self.autoreset_mode = mode
        self.num_envs = num_envs
        self.render_mode = checked_render_mode(render_mode)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 2, "autoreset_mode": mode}
        self.player = Player(make_config(config_class(task), config), np.arange(num_envs), num_envs)
        self.single_observation_space = self.player.observation_space
        self.single_action_space = self.player.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next episodes, those of chosen videos, or the first ones of a seed's order.

        Args:
            seed: Seed of a new order of all environments.
            options: ``video``: a row of the cache for each environment (or one for all), played
                out of turn; ``reset_mask``: ``(N,)`` bool, the environments to reset.

        Raises:
            ValueError: If the options are unknown or do not fit, or if a list of seeds is given.
        """
        if isinstance(seed, list | tuple):
            raise ValueError(f"one seed fixes the order of all environments; got {len(seed)} seeds")
        super().reset(seed=seed)
        check_options(options, ("video", "reset_mask"))
        reset_options = options or {}
        which = self._mask(reset_options.get("reset_mask"))
        chosen = reset_options.get("video")
        if chosen is not None:
            rows = np.atleast_1d(np.asarray(chosen)).tolist()
            if len(rows) not in (1, self.num_envs):
                raise ValueError(
                    f"video must be one row of the cache, or {self.num_envs}; got {len(rows)}"
                )
            chosen = rows * (self.num_envs // len(rows))
        self.player.start(which, chosen, seed)
        return self.player.observe(), _with_masks(self.player.videos_info(), which)

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Make one decision in every environment; see `Player.step` for the errors."""
        outcome = self.player.step(actions)
        observations, done = self.player.observe(), outcome.done.copy()
        truncated = np.asarray(self.player.t >= self._most_steps)
        over = done | truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP and over.any():
            infos = self._finish(observations, outcome.info, done, over)
            observations = self.player.observe()
        else:
            infos = _with_end(outcome.info, done, np.ones(self.num_envs, dtype=bool))
        return observations, outcome.rewards.astype(np.float64), done, truncated, infos

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are possible now, ``(N, number of actions)``.

        Raises:
            RuntimeError: If no episode was begun, or actions are numbers and have no masks.
        """
        return self.player.action_masks()

    def record(self, env: int) -> EpisodeRecord:
        """Return the record of an environment's episode so far.

        Whole episodes are recorded with ``DISABLED`` autoreset, before the reset.

        Raises:
            RuntimeError: If no episode was begun.
        """
        return self.player.record(env)

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return a picture ``(H, W, 3)`` per environment; None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(self.player.picture(i) for i in range(self.num_envs))

    def _finish(
        self, observations: Any, info: Columns, done: NDArray[np.bool_], over: NDArray[np.bool_]
    ) -> dict[str, Any]:
        """Begin the next episodes where one is over; return the infos of both."""
        final_obs = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(over).tolist():
            final_obs[i] = row_observation(observations, i)
        self.player.start(over)
        everyone = np.ones(self.num_envs, dtype=bool)
        return {
            **({} if over.all() else _with_end(info, np.zeros_like(done), ~over)),
            **_with_masks(self.player.videos_info(), everyone),
            "final_obs": final_obs,
            "_final_obs": over,
            "final_info": _with_end(info, done, over),
            "_final_info": over.copy(),
        }

    def _mask(self, reset_mask: Any) -> NDArray[np.bool_]:
        if reset_mask is None:
            return np.ones(self.num_envs, dtype=bool)
        mask = np.asarray(reset_mask)
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"reset_mask must be ({self.num_envs},) bool with at least one True; got "
                f"{mask.dtype} of shape {mask.shape}"
            )
        return mask


def _with_masks(columns: Columns, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return Gymnasium's infos: each column, zero outside the mask, and the mask as ``_key``."""
    infos: dict[str, Any] = {}
    everyone = bool(mask.all())
    for name, column in columns.items():
        shaped = mask.reshape(-1, *(1,) * (column.ndim - 1))
        infos[name] = (
            column.copy() if everyone else np.where(shaped, column, 0).astype(column.dtype)
        )
        infos[f"_{name}"] = mask.copy()
    return infos


def _with_end(info: Columns, done: NDArray[np.bool_], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return Gymnasium's infos of a mask, with those of episodes' ends where one is ``done``."""
    ends = {name: column for name, column in info.items() if name.startswith("episode_")}
    others = {name: column for name, column in info.items() if name not in ends}
    return {**_with_masks(others, mask), **(_with_masks(ends, done) if done.any() else {})}
