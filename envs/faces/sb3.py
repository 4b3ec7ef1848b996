"""The Stable-Baselines3 face: N episodes as one ``VecEnv``, stepped by one batched engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from ..config import EnvConfig, check_integer
from ..core import Player
from ..records.outcome import Columns, row_observation
from ..tasks.registry import config_of
from .env import FocusEnv, check_options, checked_render_mode


def make_sb3(
    env_id: str, n_envs: int = 1, *, render_mode: str | None = None, **config: Any
) -> FocusVecEnv:
    """Make N environments for Stable-Baselines3.

    ``evaluate_policy`` of Stable-Baselines3 gives each environment its share of episodes: with a
    new VecEnv, as many episodes as videos, and N that divides them, it plays every video once.

    Args:
        env_id: Such as ``focusgym/AdaFocus-v0``; an id of your own, see `register_task`; or
            ``module:attribute`` of a config class.
        n_envs: N.
        render_mode: ``rgb_array``, or None.
        **config: As for ``gymnasium.make``.

    Raises:
        ValueError: If the id is unknown, or a value is out of range.
        TypeError: If a keyword is unknown, or ``cache`` or ``classifier`` is missing.
        CacheError: If the cache cannot be opened or has no such split.
        BundleError: If the classifier cannot be read or belongs to another cache.
    """
    return FocusVecEnv(config_of(env_id, config), n_envs, render_mode)


class FocusVecEnv(VecEnv):
    """N environments of one id in step with each other.

    The same episodes as N `FocusEnv` with ``first_episode=i, episode_stride=N``, and the same
    infos. At the end of an episode they also have, as Stable-Baselines3 wants them, ``episode``
    (return ``r``, length ``l``, and our ``gmacs`` and ``correct``) and ``terminal_observation``.
    """

    def __init__(self, config: EnvConfig, n_envs: int, render_mode: str | None = None) -> None:
        """Open the environments.

        Args:
            config: Task, cache, classifier and reward of the environments.
            n_envs: N.
            render_mode: ``rgb_array``, or None.

        Raises:
            ValueError: If N is not positive, or a value does not fit the cache.
            CacheError: If the cache cannot be opened or has no such split.
            BundleError: If the classifier cannot be read or belongs to another cache.
        """
        check_integer("n_envs", n_envs, 1)
        self.player = Player(config, np.arange(n_envs), n_envs)
        self.render_mode = checked_render_mode(render_mode)
        super().__init__(n_envs, self.player.observation_space, self.player.action_space)
        self.metadata = FocusEnv.metadata

    def reset(self) -> Any:
        """Begin the next episodes; after ``seed``, the first ones of that seed's order.

        After ``set_options({"video": row})`` that row of the cache is played out of turn.
        """
        for options in self._options:
            check_options(options, ("video",))
        chosen = [options.get("video") for options in self._options]
        # `VecEnv.seed` leaves one seed per environment; ours share one order, so the first counts.
        self.player.start(chosen=chosen, seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = _row_infos(self.player.videos_info())
        return self.player.observe()

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Take the actions ``(N, ...)`` of the next step."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Make the step; see `Player.step` for the errors."""
        outcome = self.player.step(self._actions)
        observations, infos = self.player.observe(), _row_infos(outcome.info)
        if outcome.done.any():
            for i in np.flatnonzero(outcome.done).tolist():
                info = infos[i]
                info["terminal_observation"] = row_observation(observations, i)
                info["TimeLimit.truncated"] = False
                info["episode"] = {
                    "r": info["episode_return"],
                    "l": info["episode_length"],
                    "gmacs": info["gmacs"],
                    "correct": info["correct"],
                }
            self.player.start(outcome.done)
            self.reset_infos = _row_infos(self.player.videos_info())
            observations = self.player.observe()
        return observations, outcome.rewards.copy(), outcome.done.copy(), infos

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are possible now, ``(N, number of actions)``."""
        return self.player.action_masks()

    def close(self) -> None:
        """Nothing to close: arrays are memory maps."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of this object once per asked environment."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse: the environments of a batch share everything.

        Raises:
            AttributeError: Always.
        """
        raise AttributeError(
            f"cannot set {attr_name!r}: the environments of a batch share one engine; build "
            "another FocusVecEnv instead"
        )

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Return what each asked environment would: ``action_masks`` or ``record``.

        Raises:
            AttributeError: If the method is another one.
        """
        rows = list(self._get_indices(indices))
        if method_name == "action_masks":
            masks = self.player.action_masks()
            return [masks[i] for i in rows]
        if method_name == "record":
            return [self.player.record(i) for i in rows]
        raise AttributeError(
            f"the environments of a batch have no method {method_name!r} of their own: expected "
            "action_masks or record"
        )

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return whether the infos are those of a wrapper: of ``Monitor``, whose part we do."""
        return [wrapper_class is Monitor] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a picture ``(H, W, 3)`` per environment; None without a render mode."""
        if self.render_mode is None:
            return [None] * self.num_envs
        return [self.player.picture(i) for i in range(self.num_envs)]


def _row_infos(columns: Columns) -> list[dict[str, Any]]:
    """Return the info of each environment; column by column, since N may be large."""
    names = list(columns)
    rows = zip(
        *(c.tolist() if c.ndim == 1 else list(c.copy()) for c in columns.values()), strict=True
    )
    return [dict(zip(names, row, strict=True)) for row in rows]
