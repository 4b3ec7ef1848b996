"""The Stable-Baselines3 face: N episodes as one ``VecEnv``, stepped by one batched engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from .player import EnvConfig, Player


class AdaFocusVecEnv(VecEnv):
    """N AdaFocus environments in step with each other.

    The same episodes as N `AdaFocusEnv` with ``first_episode=i, episode_stride=N``. At the end of
    an episode, ``info`` has ``episode`` (return ``r``, length ``l``), ``correct`` and, as
    Stable-Baselines3 wants it, ``terminal_observation``.
    """

    def __init__(self, config: EnvConfig, n_envs: int) -> None:
        """Open the environments.

        Args:
            config: What to play.
            n_envs: N.

        Raises:
            ValueError: If N is not positive.
            CacheError: If the cache cannot be opened or has no such split.
            BundleError: If the classifier cannot be read or belongs to another cache.
        """
        if n_envs < 1:
            raise ValueError(f"n_envs must be at least 1; got {n_envs}")
        self.player = Player(config, np.arange(n_envs), n_envs)
        self.render_mode = None
        super().__init__(n_envs, self.player.observation_space, self.player.action_space)

    def reset(self) -> Any:
        """Begin the next episodes; after ``seed``, the first ones of that seed's order."""
        # `VecEnv.seed` leaves one seed per environment; ours share one order, so the first counts.
        if self._seeds[0] is not None:
            self.player.episodes.restart(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._begin()
        return self.player.observe()

    def step_async(self, actions: np.ndarray[Any, Any]) -> None:
        """Take the actions ``(N,)`` of the next step."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Make the step; see `Player.step` for the errors."""
        step = self.player.step(self._actions)
        rewards = step.reward.numpy()
        self._returns += rewards
        observation = self.player.observe()
        dones = np.full(self.num_envs, self.player.done)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if self.player.done:
            labels = self.player.cache.labels[self.player.episodes.videos]
            correct = (step.logits.argmax(dim=1) == labels).numpy()
            for i, info in enumerate(infos):
                info["terminal_observation"] = _row(observation, i)
                info["TimeLimit.truncated"] = False
                info["episode"] = {"r": float(self._returns[i]), "l": self.player.t}
                info["correct"] = bool(correct[i])
            self._begin()
            observation = self.player.observe()
        return observation, rewards, dones, infos

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
            "another AdaFocusVecEnv instead"
        )

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of this object once, and return its result per asked environment."""
        result = getattr(self, method_name)(*args, **kwargs)
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return False for each: there are no single environments to wrap."""
        return [False] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[np.ndarray[Any, Any] | None]:
        """Return None for each: this environment does not render."""
        return [None] * self.num_envs

    def _begin(self) -> None:
        self.player.start()
        self._returns = np.zeros(self.num_envs, dtype=np.float64)


def _row(observation: Any, i: int) -> Any:
    if isinstance(observation, dict):
        return {key: rows[i] for key, rows in observation.items()}
    return observation[i]
