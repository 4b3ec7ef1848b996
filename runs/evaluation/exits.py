"""What a policy comes to if videos stop on predictions that are sure enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...agents import fixed_exits, random_exits, solve_exits
from ...recognizer import hold
from ...recognizer.exits import Measure
from ..options.parse import usage
from .measures import gmacs_of, measures
from .trace import Played, all_labels, play
from .trained import Decider

SOLVED_ON = "val"


def exit_rows(
    trained: Decider,
    videos: NDArray[np.int64],
    played: Played,
    logits: Tensor,
    shares: Sequence[float],
    measure: Measure,
    seed: int,
) -> list[dict[str, Any]]:
    """Return three rows for each share of the full cost: solved, random and fixed exits.

    Each solved row has ``exits``: measure and thresholds. After its exit a video's prediction and
    cost stay, so that accuracies by step are those of videos that have stopped or go on.

    Args:
        trained: Who decides where to look.
        videos: ``(B,)`` rows of the cache, of a split on which nothing is solved.
        played: What it did there.
        logits: ``(B, T, C)`` after every frame.
        shares: Of the mean full cost of a video of the split val, whose videos may spend it.
        measure: How sure a prediction is.
        seed: Of the random and the fixed exits.

    Raises:
        UsageError: If a share does not pay for the first frame.
        CacheError: If the cache has no split val.
    """
    solving = trained.cache.split(SOLVED_ON)
    before, stored = play(trained.engine, trained.agent, solving, trained.cost)
    labels, costs = all_labels(trained.cache, solving), torch.from_numpy(before.gmacs)
    spent = torch.from_numpy(played.gmacs)
    rows = []
    for share in shares:
        with usage():
            budget = share * float(costs[:, -1].mean())
            rule = solve_exits(stored, labels, costs, budget, measure)
        steps = rule.exit_steps(logits)
        mean_gmacs = float(hold(spent, steps)[:, -1].mean())
        controls = {
            "random": random_exits(steps, seed),
            "fixed": fixed_exits(spent, mean_gmacs, seed),
        }
        name = f"{trained.name} exits at {share:g}"
        rows.append(_row(name, trained, videos, played, logits, steps) | {"exits": asdict(rule)})
        for kind, chosen in controls.items():
            name = f"{trained.name} {kind} at {share:g}"
            rows.append(_row(name, trained, videos, played, logits, chosen))
    return rows


def _row(
    name: str,
    trained: Decider,
    videos: NDArray[np.int64],
    played: Played,
    logits: Tensor,
    steps: Tensor,
) -> dict[str, Any]:
    fed = np.arange(logits.shape[1]) <= steps.numpy()[:, None]
    gmacs = hold(torch.from_numpy(played.gmacs), steps).numpy()
    looked, labels = played.attended & fed, all_labels(trained.cache, videos)
    row = measures(name, hold(logits, steps), labels, looked)
    return row | gmacs_of(replace(played, gmacs=gmacs))
