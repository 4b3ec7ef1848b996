"""How much of a reward is luck of its own: one random patch to compare with, or all of them.

``python benchmarks/rewards.py COMPARISON`` takes a folder that ``focusgym compare`` wrote, with the
design increment_over_random. For every cell of it, all options are tried along episodes of training
videos that its policy plays with sampled actions. Given what is played, Eq. 7 with one draw has the
variance of the confidences over the options, which the exact expectation has not; the rewards of
the exact expectation vary by state and action alone. Printed is the share of the draw in the
variance of a reward with one draw, its mean over seeds, and the smallest and largest seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from focusgym.agents import policy_plan
from focusgym.envs import FocusEngine
from focusgym.recognizer import Purpose, generator
from focusgym.runs.evaluation.trained import find_trained

VIDEOS = 256
DESIGN = "increment_over_random"


def main(comparison: Path) -> None:
    """Print a line for each option group."""
    for group in sorted((comparison / "cells").iterdir()):
        runs = sorted((group / DESIGN).glob("seed-*"))
        shares = [share_of_the_draw(run) for run in runs]
        if shares:
            print(
                f"{group.name}: {100 * np.mean(shares):.0f} % ({100 * min(shares):.0f} to "
                f"{100 * max(shares):.0f}) of the variance of a reward with one draw is the draw's "
                f"({len(runs)} seeds, {VIDEOS} training videos each)"
            )


def share_of_the_draw(run: Path) -> float:
    """Return the share of a cell."""
    trained = find_trained(run)
    seed = int(run.name.removeprefix("seed-"))
    rng = generator(Purpose.RESAMPLING, seed)
    videos = rng.permutation(trained.cache.split("train"))[:VIDEOS]
    draws = torch.from_numpy(rng.random((len(videos), trained.cache.steps, 2), dtype=np.float32))
    plan = policy_plan(trained.policy, trained.cache, videos, draws)
    return _share(*confidences(trained.engine, videos, plan.options))


def confidences(
    engine: FocusEngine, videos: NDArray[np.int64], options: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``(B, T)`` the confidence on what is played, and ``(B, T, K)`` on each option."""
    every = engine.rollout_counterfactuals(videos, options).options.double().cpu().numpy()
    return np.take_along_axis(every, options[..., None], axis=-1)[..., 0], every


def _share(chosen: NDArray[np.float64], every: NDArray[np.float64]) -> float:
    exact = chosen - every.mean(axis=-1)
    of_the_draw = float(every.var(axis=-1).mean())
    return of_the_draw / (of_the_draw + float(exact.var()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
