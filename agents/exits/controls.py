"""Exits that look at no prediction: what a rule has to beat at the same mean cost."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...recognizer import Purpose, generator


def random_exits(steps: Tensor, seed: int) -> Tensor:
    """Return the exits of a rule, each given to a video drawn at random.

    As many videos stop after each step, but any ones. The mean cost is the same where all videos
    cost the same up to a step; where frames are skipped it may differ a little.

    Args:
        steps: ``(N,)`` int64, after which step each video stops by the rule.
        seed: Of the draws.

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
        seed: Of the draws.

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
