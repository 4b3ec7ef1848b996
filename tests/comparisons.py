"""Synthetic cells of a comparison: policies that are right as often as they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from focusgym.runs.comparison.summary import Cell, summarise
from focusgym.runs.evaluation.trace import Played

CLASSES = 5
TWO = ("p28_7x7", "p36_7x7")
RESAMPLES = 200
# Options of a tiny comparison.
HOW = ("--n-envs=6", "--minibatch=3", "--conv-channels=2", "--hidden=6", "--epochs=2")
HOW += ("--fit-epochs=2", "--fit-batch-size=4", "--fit-hidden=5", "--fit-lr=0.01")


def make_played(
    accuracy: Sequence[float],
    seed: int,
    *,
    n: int = 40,
    keep: float = 1.0,
    local_gmacs: float = 0.5,
    prefix: str = "video",
) -> Played:
    """Return what a policy did that is right with probability ``accuracy[t]`` after frame t."""
    rng = np.random.default_rng(seed)
    size = (n, len(accuracy))
    labels = np.arange(n) % CLASSES
    right = rng.random(size) < np.asarray(accuracy)
    attended = rng.random(size) < keep
    return Played(
        names=np.array([f"{prefix}{i}" for i in range(n)]),
        labels=labels,
        predictions=np.where(right, labels[:, None], (labels[:, None] + 1) % CLASSES),
        correct=right,
        confidences=rng.random(size).astype(np.float32),
        options=np.where(attended, 0, -1),
        attended=attended,
        gmacs=np.cumsum(0.1 + local_gmacs * attended, axis=1),
    )


def make_cell(
    design: str,
    seed: int = 0,
    accuracy: Sequence[float] = (0.4, 0.6, 0.7),
    *,
    group: str = "p28_7x7",
    kind: Literal["trained", "fixed", "bound", "plus"] = "trained",
    keep_ratio: float | None = None,
    learns: bool = False,
    draws: int = 0,
    **played: Any,
) -> Cell:
    """Return a cell; ``draws`` is added to the seed that says which videos are right."""
    patch_px = int(group[1:].split("_")[0])
    curve = None
    if learns:
        rng = np.random.default_rng(seed)
        steps = 64 * np.arange(1, 31)
        rise = 1 - np.exp(-steps / 600)
        returns = rise + 0.1 * rng.normal(size=30)
        correct = 0.2 + 0.5 * rise + 0.02 * rng.normal(size=30)
        curve = pd.DataFrame({"steps": steps, "mean_return": returns, "correct": correct})
    did = make_played(accuracy, 1000 * seed + draws, **played)
    return Cell(design, group, patch_px, seed, did, kind, keep_ratio, curve)


def make_comparison() -> list[Cell]:
    """Return five designs, AdaFocus+ at four η and four others, in two groups, with five seeds."""
    shifts = {
        "increment_over_random": 0.0,
        "increment_over_random_exact": 0.01,
        "confidence": -0.06,
        "increments": -0.01,
        "padding": -0.03,
    }
    cells = []
    for g, group in enumerate(TWO):
        base = np.array([0.62, 0.75, 0.82, 0.86, 0.88]) + 0.03 * g
        local = {"n": 300, "local_gmacs": 0.001 * (1 + 0.7 * g), "group": group}
        for seed in range(5):
            for d, (design, shift) in enumerate(shifts.items()):
                accuracy = (base + shift).tolist()
                draws = 10 * d + 100 * g
                cells.append(make_cell(design, seed, accuracy, learns=True, draws=draws, **local))
            for eta in (0.25, 0.5, 0.75, 1.0):
                accuracy = (base - 0.06 * (1 - eta)).tolist()
                keep = {"keep_ratio": eta, "keep": eta, "draws": int(200 + 4 * eta)}
                cells.append(
                    make_cell("adafocus_plus", seed, accuracy, kind="plus", **keep, **local)
                )
            accuracy = (base - 0.25).tolist()
            cells.append(make_cell("random", seed, accuracy, kind="fixed", draws=300, **local))
        for name, shift in (("central", -0.2), ("gaussian", -0.27)):
            accuracy = (base + shift).tolist()
            cells.append(make_cell(name, 0, accuracy, kind="fixed", draws=400, **local))
        bound = local | {"local_gmacs": 0.05}
        cells.append(make_cell("oracle", 0, (base + 0.08).tolist(), kind="bound", **bound))
    return cells


def two_designs() -> tuple[list[Cell], dict[str, Any]]:
    """Return two designs in two groups, with three and two seeds, and what is said of them."""
    cells = [
        make_cell(design, seed, (0.3, 0.5, level), group=group, n=25, draws=draws, keep=0.6)
        for g, (group, n_seeds) in enumerate(zip(TWO, (3, 2), strict=True))
        for design, level, draws in (("a", 0.6, 10 * g + 1), ("b", 0.8, 10 * g + 2))
        for seed in range(n_seeds)
    ]
    return cells, summarise(cells, "a", seed=5, resamples=RESAMPLES)


def find_row(summary: dict[str, Any], label: str, group: str = "all") -> dict[str, Any]:
    """Return a row of a summary."""
    rows = summary["rows"] + summary["overall"]
    (row,) = (row for row in rows if (row["label"], row["group"]) == (label, group))
    return dict(row)


def of(cells: list[Cell], design: str, group: str) -> list[Cell]:
    """Return the cells of a design in a group."""
    return [cell for cell in cells if (cell.design, cell.group) == (design, group)]


def right(cell: Cell) -> list[list[bool]]:
    """Return whether each video is right after each frame, entry by entry."""
    did = cell.played
    return [
        [int(p) == int(label) for p in row]
        for row, label in zip(did.predictions, did.labels, strict=True)
    ]
