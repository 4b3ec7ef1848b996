"""What exits come to: which predictions are right, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...recognizer import hold


@dataclass(frozen=True)
class ExitOutcome:
    """Videos that stopped.

    Attributes:
        correct: ``(N,)`` bool: whether the prediction at the exit is right.
        gmacs: ``(N,)`` float64: spent on each video.
    """

    correct: Tensor
    gmacs: Tensor

    @property
    def accuracy(self) -> float:
        """Share of the videos that are right."""
        return float(self.correct.double().mean())

    @property
    def mean_gmacs(self) -> float:
        """Mean cost of a video."""
        return float(self.gmacs.mean())


def apply_exits(logits: Tensor, labels: Tensor, costs: Tensor, steps: Tensor) -> ExitOutcome:
    """Return what videos come to that stop after given steps.

    Args:
        logits: ``(N, T, C)`` after every step.
        labels: ``(N,)`` int64; or ``(N, C)`` bool, where videos have several.
        costs: ``(N, T)``: GMACs spent on each video up to and including each step.
        steps: ``(N,)`` int64 in ``[0, T)``, after which step each video stops.

    Raises:
        ValueError: If a shape is not as above.
    """
    check_costs(logits, costs)
    if steps.shape != logits.shape[:1] or not ((steps >= 0) & (steps < logits.shape[1])).all():
        raise ValueError(
            f"expected exits ({len(logits)},) in [0, {logits.shape[1]}), a step for each video; "
            f"got {tuple(steps.shape)}, {steps.tolist()!s:.80}"
        )
    correct = hold(right(logits, labels), steps)[:, -1]
    return ExitOutcome(correct, hold(costs.double(), steps)[:, -1])


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether predictions are right, ``(N, T)`` bool; see `apply_exits`."""
    predictions = logits.argmax(dim=-1)
    if labels.dtype == torch.bool:
        return labels.gather(1, predictions)
    return predictions == labels[:, None]


def check_costs(logits: Tensor, costs: Tensor) -> None:
    """Check that there is a cost for every prediction, one at least.

    Raises:
        ValueError: If not.
    """
    if logits.ndim != 3 or 0 in logits.shape or costs.shape != logits.shape[:2]:
        raise ValueError(
            f"expected logits (N, T, C) and costs (N, T) of the same videos, one at least; got "
            f"{tuple(logits.shape)} and {tuple(costs.shape)}"
        )
