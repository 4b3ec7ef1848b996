"""Checkpoints of a training: everything at a rollout boundary, in one safe file."""

from __future__ import annotations

import json
import os
import random
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from ..recognizer import FocusgymError
from .focus_ppo import FocusPPO

_FORMAT = "focusgym checkpoint 1"
_COUNTERS = (
    "num_timesteps",
    "n_rollouts",
    "_n_updates",
    "_episode_num",
    "_current_progress_remaining",
    "draw_seed",
    "mean_returns",
    "best_score",
)


class CheckpointError(FocusgymError):
    """A checkpoint cannot be used; the message says why and what to do."""


def save_checkpoint(path: str | os.PathLike[str], model: FocusPPO, identity: str = "") -> None:
    """Write a checkpoint: weights, optimizer, generators, counters, and where the episodes are.

    The file is whole or not there: it is written beside, then renamed. Call it between rollouts,
    such as in a callback's ``_on_rollout_start``.

    Args:
        path: The file.
        model: What is being trained.
        identity: Of the training; see `load_checkpoint`.
    """
    target = Path(path)
    content = {
        "format": _FORMAT,
        "identity": identity,
        "settings": _settings(model),
        "counters": {name: getattr(model, name) for name in _COUNTERS},
        "positions": [player.position() for player in model.players],
        "penalties": [player.prices.penalty for player in model.players],
        "episode_infos": list(model.ep_info_buffer or ()),
        "python_random": random.getstate(),
        "numpy_random": [_plain(part) for part in np.random.get_state()],  # noqa: NPY002
    }
    tensors = {f"policy.{name}": value for name, value in model.policy.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (model.best_weights or {}).items()}
    for index, state in model.policy.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    tensors["torch_random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["cuda_random"] = torch.cuda.get_rng_state()
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    partial = target.with_name(f"{target.name}.partial")
    save_file(tensors, partial, {"checkpoint": json.dumps(content)})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_checkpoint(path: str | os.PathLike[str], model: FocusPPO, identity: str = "") -> None:
    """Put a training back to where a checkpoint was written.

    ``model.learn(total - model.num_timesteps, reset_num_timesteps=False)`` then goes on as if it
    had not been interrupted: bit for bit on the same machine with the same number of threads, if
    ``total`` is the same.

    Args:
        path: The file.
        model: Made as the interrupted one was, with its environments.
        identity: Of the training: has to be the one that was given when it was saved.

    Raises:
        CheckpointError: If the file is no intact checkpoint, or of another training.
    """
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {})["checkpoint"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({error}): remove it and train from the beginning"
        ) from error
    expected = {"format": _FORMAT, "identity": identity, "settings": _settings(model)}
    expected = json.loads(json.dumps(expected))
    for key, value in expected.items():
        if content.get(key) != value:
            raise CheckpointError(
                f"{path} is of another training: expected {key} {value}, got {content.get(key)}: "
                "train with the settings that it was begun with, or remove it"
            )
    _restore_weights(model, tensors)
    for name, value in content["counters"].items():
        setattr(model, name, value)
    model.ep_info_buffer = deque(content["episode_infos"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    assert model.env is not None  # a checkpoint was made of environments like these
    model.env.reset()  # uses up the seeds that are waiting
    for player, position, penalty in zip(
        model.players, content["positions"], content["penalties"], strict=True
    ):
        player.go_to(position)
        player.set_penalty(penalty)
    model._last_obs = model.env.reset()  # type: ignore[assignment]
    model._last_episode_starts = np.ones(model.n_envs, dtype=bool)
    # Last: whatever was drawn above is forgotten.
    version, internal, gauss = content["python_random"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = content["numpy_random"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(tensors["torch_random"])
    if torch.cuda.is_available() and "cuda_random" in tensors:
        torch.cuda.set_rng_state(tensors["cuda_random"])


class Checkpoints(BaseCallback):
    """Writes checkpoints between rollouts, and one at the end.

    Attributes:
        path: The file.
    """

    def __init__(
        self, path: str | os.PathLike[str], every_s: float = 60.0, identity: str = ""
    ) -> None:
        """Write into a file.

        Args:
            path: The file; a former checkpoint in it is replaced.
            every_s: Least time between two, seconds; 0 writes before each rollout.
            identity: Of the training; see `load_checkpoint`.
        """
        super().__init__()
        self.path = Path(path)
        self._every_s, self._identity = every_s, identity
        self._last = time.monotonic()

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps and time.monotonic() - self._last >= self._every_s:
            self._save()

    def _on_training_end(self) -> None:
        self._save()

    def _on_step(self) -> bool:
        return True

    def _save(self) -> None:
        assert isinstance(self.model, FocusPPO)
        save_checkpoint(self.path, self.model, self._identity)
        self._last = time.monotonic()


def _settings(model: FocusPPO) -> dict[str, Any]:
    """Return what has to be the same before and after, as far as it is plain values."""
    names = ["n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "normalize_advantage"]
    names += ["normalize_returns", "ent_coef", "vf_coef", "max_grad_norm", "keep_from"]
    names += ["target_gmacs", "penalty_rate", "n_envs", "seed", "cache_fingerprint"]
    shapes = {name: list(value.shape) for name, value in model.policy.state_dict().items()}
    return {
        **{name: getattr(model, name) for name in names},
        "environment": [player.description() for player in model.players],
        "networks": shapes,
    }


def _restore_weights(model: FocusPPO, tensors: dict[str, Tensor]) -> None:
    parts: dict[str, dict[str, Tensor]] = {"policy": {}, "best": {}}
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if part == "optimizer":
            index, _, key = rest.partition(".")
            states.setdefault(int(index), {})[key] = value
        elif part in parts:
            parts[part][rest] = value
    model.policy.load_state_dict(parts["policy"])
    model.best_weights = parts["best"] or None
    state = model.policy.optimizer.state_dict()
    model.policy.optimizer.load_state_dict({**state, "state": states})


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value
