"""Checkpoints of a training: everything at a rollout boundary, in one safe file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from ...recognizer import CheckpointError, as_json, differences, read_checkpoint, write_checkpoint
from ..ppo.focus_ppo import FocusPPO
from ..ppo.rollout import stand_at
from .state import progress_misfit, progress_of, restore, tensor_misfit, tensors_of

_FORMAT = "focusgym checkpoint 1"
_SHOWN = 3  # differences in a message


def save_checkpoint(path: str | os.PathLike[str], model: FocusPPO, identity: str = "") -> None:
    """Write a checkpoint: weights, optimizer, generators, counters, and where the episodes are.

    The file is whole or not there: it is written beside, then renamed. What callbacks and wrappers
    of environments hold themselves is not in it.

    Args:
        path: The file.
        model: What is being trained, between two rollouts: after ``learn``, or in a callback's
            ``_on_rollout_start``.
        identity: Of the training; see `load_checkpoint`.

    Raises:
        CheckpointError: If no rollout was done, one is going on, the file cannot be written, or the
            reward is a Python object, which cannot be stored.
    """
    _check_between_rollouts(model)
    content = {
        "format": _FORMAT,
        "settings": _settings(model),
        "identity": identity,
        **progress_of(model),
    }
    write_checkpoint(Path(path), content, tensors_of(model))


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
        CheckpointError: If the file is no intact checkpoint, or of another training; the model is
            then as it was.
    """
    _check_has_environments(model)
    content, tensors = read_checkpoint(Path(path))
    here = {"format": _FORMAT, "settings": as_json(_settings(model)), "identity": identity}
    mismatches: list[str] = []
    for key, expected in here.items():  # what says most is told first, and then no more
        mismatches = mismatches or list(differences(expected, content.get(key), key))
    if mismatches:
        mismatches = [each.removeprefix("settings.") for each in mismatches]
        more = f"; and {len(mismatches) - _SHOWN} more" if len(mismatches) > _SHOWN else ""
        raise CheckpointError(
            f"{path} is of another training ({'; '.join(mismatches[:_SHOWN])}{more}): train with "
            "the settings that it was begun with, or give another path"
        )
    misfit = progress_misfit(content, model) or tensor_misfit(tensors, model)
    if misfit:
        raise CheckpointError(
            f"{path} is damaged ({misfit}): remove it and train from the beginning"
        )
    restore(content, tensors, model)


class Checkpoints(BaseCallback):
    """Writes checkpoints between rollouts, and one at the end.

    Give it first: what other callbacks do where a rollout starts, or the training ends, is then
    done after a checkpoint, thus once more after it was loaded.

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

        Raises:
            CheckpointError: If there is no folder for it.
        """
        super().__init__()
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise CheckpointError(
                f"{self.path}: there is no folder {self.path.parent}: make it, or give another path"
            )
        self._every_s, self._identity = every_s, identity
        self._last = time.monotonic()

    def _init_callback(self) -> None:
        assert isinstance(self.model, FocusPPO)
        _settings(self.model)  # what cannot be stored is refused before anything is trained

    def _on_rollout_start(self) -> None:
        if time.monotonic() - self._last >= self._every_s:
            self._save()

    def _on_training_end(self) -> None:
        self._save()

    def _on_step(self) -> bool:
        return True

    def _save(self) -> None:
        assert isinstance(self.model, FocusPPO)
        if self.model.n_rollouts:
            save_checkpoint(self.path, self.model, self._identity)
            self._last = time.monotonic()


def _check_has_environments(model: FocusPPO) -> None:
    if model.env is None:
        raise CheckpointError(
            "a checkpoint holds where the environments are, and the model has none: give it those "
            "that it is trained on (set_env)"
        )


def _check_between_rollouts(model: FocusPPO) -> None:
    _check_has_environments(model)
    done = not model.in_rollout
    if model._last_obs is not None:  # else the next learn() begins new episodes
        done &= stand_at(model.players, model._last_obs)
    if not model.n_rollouts or not done:
        raise CheckpointError(
            "expected a model between two rollouts; "
            f"{'one is going on' if model.n_rollouts else 'it has done none yet'}: save after "
            "learn(), or in a callback's _on_rollout_start (see Checkpoints)"
        )


def _settings(model: FocusPPO) -> dict[str, Any]:
    """Return what has to be the same before and after."""
    names = ["n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "normalize_advantage"]
    names += ["normalize_returns", "ent_coef", "vf_coef", "max_grad_norm", "keep_from"]
    names += ["target_gmacs", "penalty_rate", "n_envs", "seed", "cache_fingerprint"]
    schedules: dict[str, Any] = {"learning_rate": model.lr_schedule, "clip_range": model.clip_range}
    adam = ("betas", "eps", "weight_decay", "amsgrad")
    weights = model.policy.state_dict()
    try:
        environments = [player.description() for player in model.players]
    except ValueError as error:
        raise CheckpointError(f"{error}; or train without checkpoints") from error
    return {
        **{name: getattr(model, name) for name in names},
        # Functions of the progress that remains, told by some of their values.
        **{name: [float(of(x)) for x in (1, 0.75, 0.5, 0)] for name, of in schedules.items()},
        "optimizer": {name: model.policy.optimizer.defaults[name] for name in adam},
        "environments": environments,
        "networks": {name: list(value.shape) for name, value in weights.items()},
    }
