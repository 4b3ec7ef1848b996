"""Small trainings with FocusPPO, and what is compared of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor
from support import T

from focusgym.agents import FocusPPO, load_checkpoint
from focusgym.agents.checkpoints.state import progress_of, tensors_of
from focusgym.envs import FocusEnv, make_sb3
from focusgym.recognizer import CheckpointError
from focusgym.recognizer.files.checkpoint_file import as_json

N_ENVS = 4
Files = dict[str, str]


def make_env(files: Files, kind: str = "batch", plus: bool = False, **config: Any) -> VecEnv:
    """Make environments: a batch, ``singles`` side by side, or those ``monitored`` together."""
    n_envs = config.pop("n_envs", N_ENVS)
    config = {**files, "observation": "index", **config}
    if kind == "batch":
        return make_sb3(f"focusgym/AdaFocus{'Plus' if plus else ''}-v0", n_envs, **config)
    stride = config.pop("episode_stride", n_envs)

    def single(i: int) -> gymnasium.Env[Any, Any]:
        task = "AdaFocusPlus" if plus else "AdaFocus"
        env = FocusEnv(task=task, first_episode=i, episode_stride=stride, **config)
        return Monitor(env) if kind == "singles" else env

    envs = DummyVecEnv([partial(single, i) for i in range(n_envs)])
    return VecMonitor(envs) if kind == "monitored" else envs


def make_model(env: VecEnv, **keywords: Any) -> FocusPPO:
    """Make a small FocusPPO; its log can be read with `logged`."""
    defaults: dict[str, Any] = {
        "learning_rate": LinearSchedule(1e-2, 0.0, 1.0),
        "batch_size": 2 * T,
        "n_epochs": 2,
        "seed": 3,
        "stats_window_size": 6,
        "policy_kwargs": {"conv_channels": 2, "hidden": 6},
    }
    model = FocusPPO("GruPolicy", env, **{**defaults, **keywords})
    model.set_logger(Logger(None, [Memory()]))
    return model


class Memory(KVWriter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        values = {k: v for k, v in key_values.items() if not k.startswith("time/")}
        self.rows.append({"step": step, **values})

    def close(self) -> None:
        pass


def logged(model: FocusPPO) -> list[dict[str, Any]]:
    """Return the rows of the log, without times."""
    (memory,) = model.logger.output_formats
    assert isinstance(memory, Memory)
    return memory.rows


class Interrupted(Exception):
    """A training was stopped by force."""


class Interruption(BaseCallback):
    """Stops a training where a rollout starts; put it last."""

    def __init__(self, before_rollout: int) -> None:
        super().__init__()
        self._at = before_rollout

    def _on_rollout_start(self) -> None:
        if self.model.n_rollouts == self._at:
            raise Interrupted

    def _on_step(self) -> bool:
        return True


class Draws(BaseCallback):
    """Draws from all global generators wherever it is called, and keeps what it drew."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[int, float, float, float]] = []

    def _draw(self) -> None:
        floats = random.random(), float(np.random.normal()), float(torch.randn(()))  # noqa: NPY002
        self.drawn.append((self.num_timesteps, *floats))

    def _on_rollout_start(self) -> None:
        self._draw()

    def _on_step(self) -> bool:
        self._draw()
        return True

    def _on_rollout_end(self) -> None:
        self._draw()


def state_of(model: FocusPPO) -> dict[str, Any]:
    """Return everything that goes on in a training, global generators included."""
    progress = as_json(progress_of(model))
    for info in progress["episode_infos"]:
        info.pop("t", None)  # Monitor's clock
    tensors = {k: (v.dtype, v.numpy().tobytes()) for k, v in tensors_of(model).items()}
    observations = {key: value.tolist() for key, value in model._last_obs.items()}  # type: ignore[union-attr]
    return {**progress, **tensors, "observations": observations}


def why_refused(path: Path, model: FocusPPO, identity: str = "") -> str:
    """Return why a checkpoint is refused; the model has to stay as it was, and the file too."""
    model.learn(T * N_ENVS)  # a state of its own
    model.best_score, model.best_weights = 0.25, None
    before, content = state_of(model), path.read_bytes() if path.is_file() else None
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, model, identity)
    assert state_of(model) == before
    assert (path.read_bytes() if path.is_file() else None) == content
    return str(caught.value)


Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


def damage(path: Path, change: Change) -> None:
    """Write a checkpoint again with something changed."""
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["checkpoint"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(content, tensors)
    path.write_bytes(save(tensors, {"checkpoint": json.dumps(content)}))


def put(where: str, value: Any) -> Change:
    """Put a value into the JSON; ``del`` takes what is there away."""

    def change(content: Any, tensors: Any) -> None:
        *outer, last = [int(part) if part.isdigit() else part for part in where.split("/")]
        for part in outer:
            content = content[part]
        if value == "del":
            del content[last]
        else:
            content[last] = value

    return change
