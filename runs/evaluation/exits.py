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
from ...agents.exits.kinds import Solver
from ...recognizer import hold
from ...recognizer.exit_measures import Measure
from ..options.parse import UsageError, usage
from .outcome import Outcome

SOLVED_ON = "val"


def check_exits(
    name: str,
    shares: Sequence[float],
    after: Sequence[int],
    gmacs: NDArray[np.float64],
    glances: int = 0,
) -> None:
    """Refuse exits that a policy cannot have, before videos are played to measure them.

    Args:
        name: Whose exits they are.
        shares: See `exit_rows`.
        after: See `exit_rows`.
        gmacs: ``(N, T)``, what each of some videos has cost after each prediction.
        glances: See `Played`.

    Raises:
        UsageError: If a share of the full cost does not pay for the first frame, or for the glance,
            or a video has fewer predictions than one of the numbers.
    """
    steps = gmacs.shape[1]
    for number in after:
        if number > steps:
            first = ", the first after the glance" if glances else ""
            raise UsageError(
                f"--exit-after {number}: {name} predicts {steps} times in a video{first}: expected "
                f"numbers in 1..{steps}; give smaller ones"
            )
    if shares and steps == 1:
        raise UsageError(
            f"--exit-at: {name} predicts once for a video, when all of it was seen: leave the "
            "option out, or evaluate the others by themselves"
        )
    first, last = gmacs.mean(axis=0)[[0, -1]].tolist()
    what = "glance" if glances else "first frame"
    for share in shares:
        if not share * last >= first * (1 - 1e-9):
            raise UsageError(
                f"--exit-at {share:g}: the {what} alone costs {name} {first / last:.3g} of a whole "
                "video: expected at least that share; give a larger one"
            )


def exit_rows(
    name: str,
    solving: Outcome,
    outcome: Outcome,
    shares: Sequence[float],
    measure: Measure,
    solver: Solver,
    seed: int,
    after: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """Return three rows for each share of the full cost: solved, random and fixed exits.

    Each solved row has ``exits``: measure and thresholds. After its exit a video's prediction and
    cost stay, so that accuracies by step are those of videos that have stopped or go on.

    Args:
        name: Who decides where to look.
        solving: What came of playing the videos of the split `SOLVED_ON` to their ends.
        outcome: What came of playing those that are reported on, of another split.
        shares: Of the mean full cost of a video of the split val, whose videos may spend it.
        measure: How sure a prediction is.
        solver: What solves the thresholds; see `solve_exits`.
        seed: Of the random and the fixed exits.
        after: Numbers of frames after which videos may stop; after each if there are none.

    Raises:
        UsageError: If a share does not pay for the first frame after which a video may stop, or
            there is no such number of frames; see `check_exits`.
    """
    costs = torch.from_numpy(solving.played.gmacs)
    spent = torch.from_numpy(outcome.played.gmacs)
    rows = []
    for share in shares:
        with usage():
            budget = share * float(costs[:, -1].mean())
            rule = solve_exits(
                solving.logits, solving.labels, costs, budget, measure, solver, after or None
            )
        # No video stops later than it has ended by itself, for the cost of the random exits.
        ends = (spent < spent[:, -1:]).sum(dim=1)
        steps = rule.exit_steps(outcome.logits).minimum(ends)
        mean_gmacs = float(hold(spent, steps)[:, -1].mean())
        controls = {
            "random": random_exits(steps, seed),
            "fixed": fixed_exits(spent, mean_gmacs, seed),
        }
        row = _stopped(outcome, steps).row(f"{name} exits at {share:g}")
        rows.append(row | {"exits": asdict(rule)})
        for kind, chosen in controls.items():
            rows.append(_stopped(outcome, chosen).row(f"{name} {kind} at {share:g}"))
    return rows


def _stopped(outcome: Outcome, steps: Tensor) -> Outcome:
    """Return what comes of videos that stop after steps ``(B,)``."""
    played = outcome.played
    fed = np.arange(outcome.logits.shape[1]) <= steps.numpy()[:, None]
    gmacs = hold(torch.from_numpy(played.gmacs), steps).numpy()
    stopped = replace(played, gmacs=gmacs, attended=played.attended & fed)
    return Outcome(stopped, hold(outcome.logits, steps), outcome.labels)
