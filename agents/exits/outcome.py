"""What exits come to, and exits that look at no prediction: controls of the same mean cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...recognizer import Purpose, generator, hold


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
    """Check that there is a cost for every prediction, one at least, and that all are numbers.

    Raises:
        ValueError: If not, or a cost is negative.
    """
    if logits.ndim != 3 or 0 in logits.shape or costs.shape != logits.shape[:2]:
        raise ValueError(
            f"expected logits (N, T, C) and costs (N, T) of the same videos, one at least; got "
            f"{tuple(logits.shape)} and {tuple(costs.shape)}"
        )
    if not logits.isfinite().all():
        raise ValueError("expected finite logits; got NaN or infinity")
    if not (costs.isfinite() & (costs >= 0)).all():
        raise ValueError("expected finite costs of at least 0; got others")


def random_exits(steps: Tensor, seed: int) -> Tensor:
    """Return the exits of a rule, each given to a video drawn at random.

    As many videos stop after each step, but any ones. The mean cost is the same where all videos
    cost the same up to a step; where frames are skipped it may differ a little.

    Args:
        steps: ``(N,)`` int64, after which step each video stops by the rule.
        seed: Seed of the draws.

    Returns:
        ``(N,)`` int64.

    Source: AdaFocusV3 (arXiv:2209.13465) Figure 6: "random early-exit with the same exit
        proportion".
    """
    order = generator(Purpose.RANDOM_EXITS, seed).permutation(len(steps))
    return steps[torch.from_numpy(order).to(steps.device)]


def fixed_exits(costs: Tensor, mean_gmacs: float, seed: int) -> Tensor:
    """Return exits after the same step for all videos, or after one of two neighbouring steps.

    A mean cost between those of two steps is met by as many videos, drawn at random, that take one
    step more as come nearest to it.

    Args:
        costs: ``(N, T)`` GMACs spent on each video up to and including each step.
        mean_gmacs: The mean cost to meet.
        seed: Seed of the draws.

    Returns:
        ``(N,)`` int64: after the first step if even that costs more, after the last if it costs
        less.

    Source: AdaFocusV3 (arXiv:2209.13465) Figure 6: "early-exit with fixed cube number", here
        between two numbers as well.
    """
    spent = costs.double().cpu().numpy()
    by_step = spent.mean(axis=0)
    step = int(np.clip(np.searchsorted(by_step, mean_gmacs, side="right") - 1, 0, len(by_step) - 1))
    exits = np.full(len(spent), step)
    if step < len(by_step) - 1:
        order = generator(Purpose.FIXED_EXITS, seed).permutation(len(spent))
        more = np.append(0.0, np.cumsum((spent[:, step + 1] - spent[:, step])[order]))
        wanted = len(spent) * (mean_gmacs - by_step[step])
        exits[order[: int(np.abs(more - wanted).argmin())]] += 1
    return torch.from_numpy(exits).to(costs.device)
