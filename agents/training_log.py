"""The log of a training: Stable-Baselines3's files, with fewer rows the longer it goes on."""

from __future__ import annotations

import os

from stable_baselines3.common.logger import Logger, make_output_format

_EACH = 8192  # rollouts of which each has a row


class TrainingLog(Logger):
    """Writes ``progress.csv`` and TensorBoard's events; see `interval` for how many rows.

    So the log of a training that goes on for days stays small. Which rollouts have a row does not
    depend on whether it was interrupted.
    """

    def __init__(self, folder: str | os.PathLike[str], rollout_steps: int, total: int) -> None:
        """Open the files.

        Args:
            folder: For them; it is made.
            rollout_steps: Decisions of a rollout, at whose end `dump` is called.
            total: Decisions of the training, after which there is a row in any case.
        """
        path = os.fspath(folder)
        os.makedirs(path, exist_ok=True)
        super().__init__(path, [make_output_format(kind, path) for kind in ("csv", "tensorboard")])
        self._rollout_steps, self._total = rollout_steps, total
        self._before: int | None = None

    def dump(self, step: int = 0) -> None:
        """Write a row, or leave it out.

        Args:
            step: Decisions so far.
        """
        n = step // self._rollout_steps
        before = n - 1 if self._before is None else self._before
        self._before, every = n, interval(n)
        if step >= self._total or n // every > before // every:
            super().dump(step)


def interval(n: int) -> int:
    """Return how many rollouts a row stands for at the n-th one, from 1.

    Each of the first 8,192 has its own, of the next 8,192 every second one, of the next 16,384
    every fourth one, and so on: 4,096 rows whenever a training has become twice as long.
    """
    return 1 << (max(0, n - 1) // _EACH).bit_length()
