"""Checkpoints of Stable-Baselines3's own on-policy algorithms, in the middle of episodes."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from ...envs import FocusVecEnv
from ...recognizer import CheckpointError, read_checkpoint, write_checkpoint
from .parts import (
    episode_info,
    generators,
    generators_misfit,
    list_of,
    misfit,
    named,
    numbered,
    optimizer_likes,
    optimizer_tensors,
    restore_generators,
    restore_optimizer,
    torch_generator_misfit,
    torch_generators,
    unsigned,
)

_FORMAT = "focusgym on-policy checkpoint 1"
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")


class OnPolicyCheckpoints(BaseCallback):
    """Writes checkpoints of PPO or A2C between rollouts, and one at the end.

    Rollouts are cut where they are full, so that episodes are under way: where each of them stands
    is in the file too.
    """

    def __init__(self, path: str | os.PathLike[str], every_s: float, identity: str) -> None:
        """Write into a file.

        Args:
            path: The file; a former checkpoint in it is replaced.
            every_s: Least time between two, seconds; 0 writes before each rollout.
            identity: Of the training; see `load_on_policy`.
        """
        super().__init__()
        self._path, self._every_s, self._identity = Path(path), every_s, identity
        self._last = time.monotonic()

    def _init_callback(self) -> None:
        check_kept(self.model)  # what cannot be stored is refused before anything is trained

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps and time.monotonic() - self._last >= self._every_s:
            self._save()

    def _on_training_end(self) -> None:
        self._save()

    def _on_step(self) -> bool:
        return True

    def _save(self) -> None:
        assert isinstance(self.model, OnPolicyAlgorithm)
        player = environments_of(self.model).player
        infos = self.model.ep_info_buffer or ()
        content = {
            "format": _FORMAT,
            "identity": self._identity,
            "counters": {name: getattr(self.model, name) for name in _COUNTERS},
            "position": player.position(),
            "episode_infos": [{key: named(v) for key, v in info.items()} for info in infos],
            **generators(),
        }
        policy = self.model.policy
        # Copies: a features extractor with weights is there under three names, which share memory.
        weights = policy.state_dict()
        tensors = {f"policy.{name}": value.clone() for name, value in weights.items()}
        tensors |= optimizer_tensors(policy.optimizer) | torch_generators(self.model.device)
        tensors |= {f"rows.{name}": value for name, value in player.rows().items()}
        tensors["begins"] = torch.from_numpy(np.asarray(self.model._last_episode_starts, bool))
        write_checkpoint(self._path, content, tensors)
        self._last = time.monotonic()


def environments_of(model: Any) -> FocusVecEnv:
    """Return the environments of a training whose checkpoints hold all of it.

    Raises:
        CheckpointError: If the algorithm or the environments keep something that they do not hold.
    """
    kept = isinstance(model, OnPolicyAlgorithm) and not hasattr(model, "_last_lstm_states")
    if not kept or not isinstance(model.env, FocusVecEnv):
        raise CheckpointError(
            "checkpoints are of on-policy algorithms without a state of their own, such as PPO and "
            f"A2C, on the environments of make_sb3; got {type(model).__name__} on "
            f"{type(model.env).__name__}: train it by itself, as docs/other-libraries.md shows"
        )
    if model.use_sde:
        raise CheckpointError(
            "use_sde: its noise is drawn before a rollout begins, where checkpoints are written, "
            "and is not in them: leave it out, or train the model by itself, as "
            "docs/other-libraries.md shows"
        )
    return model.env


def check_kept(model: Any) -> None:
    """Refuse, before it begins, a training that could not go on from a checkpoint.

    Raises:
        CheckpointError: If the algorithm, its environments or its optimizer keep something that
            checkpoints do not hold.
    """
    environments_of(model)
    optimizer_likes(model.policy.optimizer)


def load_on_policy(path: str | os.PathLike[str], model: OnPolicyAlgorithm, identity: str) -> None:
    """Put a training back to where a checkpoint was written.

    ``model.learn(total - model.num_timesteps, reset_num_timesteps=False)`` then goes on as if it
    had not been interrupted: bit for bit on the same machine with the same number of threads.

    Args:
        path: The file.
        model: Made as the interrupted one was, with its environments.
        identity: Of the training: has to be the one that was given when it was saved.

    Raises:
        CheckpointError: If the file is no intact checkpoint, or of another training; the model is
            then as it was, but for its environments.
    """
    player = environments_of(model).player
    content, tensors = read_checkpoint(Path(path))
    if (content.get("format"), content.get("identity")) != (_FORMAT, identity):
        raise CheckpointError(
            f"{path} is of another training: train with the settings that it was begun with, or "
            "give another path"
        )
    wrong = _content_misfit(content, model) or _tensor_misfit(tensors, model)
    if wrong is None:
        rows = {n.removeprefix("rows."): v for n, v in tensors.items() if n.startswith("rows.")}
        try:
            player.go_on(content["position"], rows)
        except ValueError as error:
            wrong = str(error)
    if wrong is not None:
        raise CheckpointError(
            f"{path} is damaged ({wrong}): remove it and train from the beginning"
        )
    prefix = "policy."
    weights = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
    model.policy.load_state_dict(weights)
    restore_optimizer(model.policy.optimizer, tensors)
    for name in _COUNTERS:
        setattr(model, name, content["counters"][name])
    infos = [{key: numbered(v) for key, v in info.items()} for info in content["episode_infos"]]
    model.ep_info_buffer = deque(infos, maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    model._last_obs = player.observe()
    model._last_episode_starts = tensors["begins"].numpy().copy()
    restore_generators(content, tensors, model.device)  # last: what was drawn above is forgotten


def _content_misfit(content: Mapping[str, Any], model: OnPolicyAlgorithm) -> str | None:
    counters, position = content.get("counters"), content.get("position")
    if not isinstance(counters, dict) or not isinstance(position, dict):
        return "counters or position are missing"
    per_environment = list_of(unsigned, model.n_envs)
    checks: list[tuple[str, Any, Callable[[Any], bool]]] = [
        *((name, counters.get(name), unsigned) for name in _COUNTERS),
        ("seed", position.get("seed"), unsigned),
        *((name, position.get(name), per_environment) for name in ("episodes", "n_chosen")),
        ("episode_infos", content.get("episode_infos"), list_of(episode_info)),
    ]
    for name, value, fits in checks:
        if not fits(value):
            return f"{name} cannot be {value!r:.80}"
    return generators_misfit(content)


def _tensor_misfit(tensors: Mapping[str, Tensor], model: OnPolicyAlgorithm) -> str | None:
    """Return what of the tensors cannot be put back; the environments check their own rows."""
    ours = {name: value for name, value in tensors.items() if not name.startswith("rows.")}
    of_torch = torch_generators(model.device)
    parts: list[tuple[str, dict[str, Tensor], bool]] = [
        ("policy.", model.policy.state_dict(), True),
        ("", {"torch_random": of_torch.pop("torch_random")}, True),
        ("", of_torch, False),
        ("", {"begins": torch.zeros(model.n_envs, dtype=torch.bool)}, True),
    ]
    for i, state in enumerate(optimizer_likes(model.policy.optimizer)):
        parts.append((f"optimizer.{i}.", state, False))
    return misfit(ours, parts) or torch_generator_misfit(tensors)
