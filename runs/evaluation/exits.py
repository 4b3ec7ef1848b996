"""What a policy comes to if videos stop on predictions that are sure enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...agents import fixed_exits, random_exits, solve_exits
from ...feature_cache import FeatureCache
from ...recognizer import hold
from ...recognizer.exits import Measure
from ..options.parse import usage
from .measures import gmacs_of, measures
from .trace import Played, all_labels

SOLVED_ON = "val"


# Of rows of the cache: what was done in them, and the logits (B, T, C) after every frame.
Plays = Callable[[NDArray[np.int64]], tuple[Played, Tensor]]


def exit_rows(
    name: str,
    cache: FeatureCache,
    plays: Plays,
    videos: NDArray[np.int64],
    found: tuple[Played, Tensor],
    shares: Sequence[float],
    measure: Measure,
    seed: int,
) -> list[dict[str, Any]]:
    """Return three rows for each share of the full cost: solved, random and fixed exits.

    Each solved row has ``exits``: measure and thresholds. After its exit a video's prediction and
    cost stay, so that accuracies by step are those of videos that have stopped or go on.

    Args:
        name: Who decides where to look.
        cache: Where.
        plays: Plays any of its videos to their ends.
        videos: ``(B,)`` rows of the cache, of a split on which nothing is solved.
        found: What came of playing them.
        shares: Of the mean full cost of a video of the split val, whose videos may spend it.
        measure: How sure a prediction is.
        seed: Of the random and the fixed exits.

    Raises:
        UsageError: If a share does not pay for the first frame.
        CacheError: If the cache has no split val.
    """
    solving = cache.split(SOLVED_ON)
    (before, stored), (played, logits) = plays(solving), found
    labels, costs = all_labels(cache, solving), torch.from_numpy(before.gmacs)
    true = all_labels(cache, videos)
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
        row = _row(f"{name} exits at {share:g}", true, played, logits, steps)
        rows.append(row | {"exits": asdict(rule)})
        for kind, chosen in controls.items():
            rows.append(_row(f"{name} {kind} at {share:g}", true, played, logits, chosen))
    return rows


def _row(
    name: str, labels: Tensor, played: Played, logits: Tensor, steps: Tensor
) -> dict[str, Any]:
    fed = np.arange(logits.shape[1]) <= steps.numpy()[:, None]
    gmacs = hold(torch.from_numpy(played.gmacs), steps).numpy()
    row = measures(name, hold(logits, steps), labels, played.attended & fed)
    return row | gmacs_of(replace(played, gmacs=gmacs))
