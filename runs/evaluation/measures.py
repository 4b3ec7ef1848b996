"""What is reported of a policy: accuracy after every frame, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from ...recognizer import compute_unit, measure
from ..options.console import PlainConsole
from .trace import Played

SHOWN = 6  # steps in a printed table


def measures(
    name: str, logits: Tensor, labels: Tensor, attended: NDArray[np.bool_], glances: int = 0
) -> dict[str, Any]:
    """Return how right predictions are.

    Args:
        name: Name of the row.
        logits: ``(B, T, C)``.
        labels: ``(B,)``; or ``(B, C)`` bool, where videos have several.
        attended: ``(B, T)``, whether f_L ran.
        glances: How many of the steps, the first ones, are no decision where to look; see `Played`.

    Returns:
        The accuracy after T steps with its 95 % interval over videos (Wilson's) and after each
        step, likewise the top-5 accuracy and the mean average precision, the share of the frames,
        or cubes, that were looked at, and ``glances``.
    """
    scores = measure(logits, labels)
    by_step = scores.top1
    return {
        "name": name,
        "n_videos": len(labels),
        "accuracy": by_step[-1],
        "accuracy_interval": accuracy_interval(by_step[-1], len(labels)),
        "accuracy_by_step": by_step,
        "top5_by_step": scores.top5,
        "map_by_step": scores.mean_average_precision,
        "kept_share": float(attended[:, glances:].mean()),
        "glances": glances,
    }


def accuracy_interval(accuracy: float, n_videos: int) -> list[float]:
    """Return the 95 % interval over videos of an accuracy: low and high, Wilson's."""
    from scipy.stats import binomtest

    right = binomtest(round(accuracy * n_videos), n_videos)
    interval = right.proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]


def gmacs_of(played: Played) -> dict[str, Any]:
    """Return what a policy cost: GMACs per video, and after each frame."""
    by_step = played.gmacs_by_step.tolist()
    return {"gmacs_per_video": by_step[-1], "gmacs_by_step": by_step}


def print_measures(rows: Sequence[dict[str, Any]]) -> None:
    """Print accuracies in percent after some of the frames, their mean, looks, and cost.

    The mean is over all frames. Where frames are left out of the table, a line below says so. Rows
    whose first prediction comes after a glance at the whole video, and rows of other numbers of
    predictions, have tables of their own.
    """
    tables: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in rows:
        tables.setdefault((row["glances"], len(row["accuracy_by_step"])), []).append(row)
    for (glances, steps), of_table in tables.items():
        _print_table(of_table, glances, steps)


def _print_table(rows: Sequence[dict[str, Any]], glances: int, steps: int) -> None:
    """Print rows with the same number of predictions, of which the first may be of a glance."""
    if glances:
        # The first cubes count most: they are shown ever more sparsely.
        cubes = np.geomspace(1, steps - 1, min(steps, SHOWN) - 1).round().astype(int)
        shown, when, what = np.unique([0, *cubes]), "the glance and n cubes", "cubes"
    else:
        shown = np.unique(np.linspace(1, steps, min(steps, SHOWN)).round().astype(int))
        when, what = "t frames" if steps > 1 else "all frames", "frames"
    title = f"accuracy (%) on {rows[0]['n_videos']} videos, after {when}; {what} kept (%)"
    table = plain_table(title, "policy")
    for n in shown:
        named = f"n={n}" if glances else f"t={n}" if steps > 1 else "top-1"
        table.add_column(named if n else "glance", justify="right", no_wrap=True)
    unit = compute_unit(*(row["gmacs_per_video"] for row in rows))
    for name in ("95 %", *(["mean"] if steps > 1 else []), "kept", unit.name):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        by_step = 100 * np.asarray(row["accuracy_by_step"])
        low, high = (100 * end for end in row["accuracy_interval"])
        table.add_row(
            row["name"],
            *(f"{by_step[n - 1 + glances]:.1f}" for n in shown),
            f"{low:.1f}–{high:.1f}",
            *([f"{by_step.mean():.1f}"] if steps > 1 else []),
            f"{100 * row['kept_share']:.0f}",
            unit.number(row["gmacs_per_video"]),
        )
    console = print_whole(table)
    if len(shown) < steps:
        console.print(
            f"{len(shown)} of {steps} {'predictions' if glances else 'frames'} are shown; the mean "
            "is over all, and --json prints all"
        )


def plain_table(title: str, first: str) -> Table:
    """Return a table with a title and its first column, of names that are never cut off."""
    table = Table(
        title=title,
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0, 0, 1),
        title_justify="left",
    )
    table.add_column(first, no_wrap=True)
    return table


def print_whole(table: Table) -> PlainConsole:
    """Print a table, and return the console."""
    console = PlainConsole()
    console.print_whole(table)
    return console
