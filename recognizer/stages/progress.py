"""How far a training is, its best weights, and the file from which it goes on."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import in_words
from ..files.checkpoint_file import (
    CheckpointError,
    as_json,
    differences,
    read_checkpoint,
    write_checkpoint,
)
from .steps import Stepper

_FORMAT = "focusgym stage 1"
_SHOWN = 3  # differences in a message


class Progress:
    """Where a training is, and what its best epoch was.

    Attributes:
        epoch: Epochs that are done.
        step: Steps that are done of the epoch that is going on.
        best_epoch: The epoch with the best score, from 1; 0 is the state before training.
        best_score: Its accuracy and its negative loss on the validation samples.
        best_weights: Weights of the best epoch so far.
    """

    def __init__(self, stepper: Stepper, epochs: int, steps: int) -> None:
        """Begin at the beginning of so many epochs, of so many steps each."""
        self._stepper, self._epochs, self._steps = stepper, epochs, steps
        self.epoch = self.step = self.best_epoch = 0
        self.best_score = (-math.inf, -math.inf)
        self.best_weights: dict[str, Tensor] = {}

    def consider(self, epoch: int, score: tuple[float, float]) -> None:
        """Keep the present weights if their score is the best so far."""
        if score > self.best_score:
            self.best_epoch, self.best_score = epoch, score
            self.best_weights = copy.deepcopy(self._stepper.networks.state_dict())

    def restore_best(self) -> None:
        """Put the best weights back into the networks."""
        self._stepper.networks.load_state_dict(self.best_weights)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return everything as plain values, and tensors by name."""
        plain, steps = self._stepper.state()
        tensors = {
            **{f"weights.{name}": t for name, t in self._stepper.networks.state_dict().items()},
            **{f"best.{name}": t for name, t in self.best_weights.items()},
            **{f"steps.{name}": t for name, t in steps.items()},
        }
        where = {"epoch": self.epoch, "step": self.step, "best_epoch": self.best_epoch}
        return {**where, "best_score": list(self.best_score), "steps": plain}, tensors

    def load_state(self, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state; everything is checked before anything is assigned.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: If it is not that of such a training.
        """
        networks = self._stepper.networks
        own = networks.state_dict()
        weights, best, steps = (_below(tensors, part) for part in ("weights", "best", "steps"))
        for state_dict in (weights, best):
            shapes = {name: tuple(value.shape) for name, value in state_dict.items()}
            if shapes != {name: tuple(value.shape) for name, value in own.items()}:
                raise ValueError("its weights are those of other networks")
        epoch, step, best_epoch = (int(plain[name]) for name in ("epoch", "step", "best_epoch"))
        if not (0 <= best_epoch <= epoch <= self._epochs and 0 <= step < self._steps):
            raise ValueError(
                f"it says epoch {epoch} of {self._epochs}, step {step} of {self._steps}, best "
                f"epoch {best_epoch}"
            )
        accuracy, minus_loss = (float(value) for value in plain["best_score"])
        parameters = [parameter for _, parameter in networks.named_parameters()]
        for name, value in steps.items():
            index = int(name.split(".", 1)[0])
            if value.ndim and value.shape != parameters[index].shape:
                raise ValueError(f"its optimizer's {name} is of another network")
        self._stepper.load_state(plain["steps"], steps)
        networks.load_state_dict(weights)
        device = next(networks.parameters()).device
        self.best_weights = {name: value.to(device) for name, value in best.items()}
        self.epoch, self.step, self.best_epoch = epoch, step, best_epoch
        self.best_score = (accuracy, minus_loss)


class StageCheckpoint:
    """The file from which a training goes on; without a path, none."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        every_s: float,
        progress: Progress,
        identity: Mapping[str, Any],
    ) -> None:
        """Name the file, and what has to be the same for a training to go on.

        Raises:
            CheckpointError: If there is no folder for it.
        """
        self._path = None if path is None else Path(path)
        if self._path is not None and not self._path.parent.is_dir():
            raise CheckpointError(
                f"{self._path}: there is no folder {self._path.parent}: make it, or give another "
                "path"
            )
        self._every_s, self._progress = every_s, progress
        self._identity = as_json({"format": _FORMAT, **identity})
        self._saved_s = time.monotonic()

    def load(self) -> bool:
        """Go on from the file, if it is there.

        Returns:
            Whether it was.

        Raises:
            CheckpointError: If it is damaged, or of another training.
        """
        if self._path is None or not self._path.exists():
            return False
        content, tensors = read_checkpoint(self._path)
        mismatches = list(differences(self._identity, content.get("identity"), "training"))
        if mismatches:
            mismatches = [each.removeprefix("training.") for each in mismatches]
            more = f"; and {len(mismatches) - _SHOWN} more" if len(mismatches) > _SHOWN else ""
            raise CheckpointError(
                f"{self._path} is of another training ({'; '.join(mismatches[:_SHOWN])}{more}): "
                "train with the settings that it was begun with, or give another path"
            )
        try:
            self._progress.load_state(content["progress"], tensors)
        except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
            raise CheckpointError(
                f"{self._path} is damaged ({in_words(error)}): remove it and train from the "
                "beginning"
            ) from error
        return True

    def save_if_due(self) -> None:
        """Write the file if the last one is old enough."""
        if self._path is not None and time.monotonic() - self._saved_s >= self._every_s:
            self.save()

    def save(self) -> None:
        """Write the file.

        Raises:
            CheckpointError: If it cannot be written; a former one stays as it is.
        """
        if self._path is None:
            return
        plain, tensors = self._progress.state()
        write_checkpoint(self._path, {"identity": self._identity, "progress": plain}, tensors)
        self._saved_s = time.monotonic()


def _below(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = f"{part}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}
