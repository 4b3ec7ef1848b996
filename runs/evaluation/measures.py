"""What is reported of a policy: accuracy after every frame, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from torch import Tensor

from ...recognizer import compute_unit, measure
from .trace import Played

_SHOWN = 6  # steps in a printed table
_WIDE = Console(width=1000, markup=False)


def measures(
    name: str, logits: Tensor, labels: Tensor, attended: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return how right predictions are.

    Args:
        name: Of the row.
        logits: ``(B, T, C)``.
        labels: ``(B,)``; or ``(B, C)`` bool, where videos have several.
        attended: ``(B, T)``, whether f_L ran.

    Returns:
        The accuracy after T steps with its 95 % interval over videos (Wilson's) and after each
        step, likewise the top-5 accuracy and the mean average precision, and the share of the
        frames that were looked at.
    """
    found = measure(logits, labels)
    by_step = found.top1
    return {
        "name": name,
        "n_videos": len(labels),
        "accuracy": by_step[-1],
        "accuracy_interval": accuracy_interval(by_step[-1], len(labels)),
        "accuracy_by_step": by_step,
        "top5_by_step": found.top5,
        "map_by_step": found.mean_average_precision,
        "kept_share": float(attended.mean()),
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

    The mean is over all frames. Where frames are left out of the table, a line below says so.
    """
    steps = len(rows[0]["accuracy_by_step"])
    shown = np.unique(np.linspace(1, steps, min(steps, _SHOWN)).round().astype(int))
    table = Table(
        title=f"accuracy (%) on {rows[0]['n_videos']} videos, after t frames; frames kept (%)",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0, 0, 1),
        title_justify="left",
    )
    table.add_column("policy", no_wrap=True)
    for t in shown:
        table.add_column(f"t={t}", justify="right", no_wrap=True)
    unit = compute_unit(*(row["gmacs_per_video"] for row in rows))
    for name in ("95 %", "mean", "kept", unit.name):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        by_step = 100 * np.asarray(row["accuracy_by_step"])
        low, high = (100 * end for end in row["accuracy_interval"])
        table.add_row(
            row["name"],
            *(f"{by_step[t - 1]:.1f}" for t in shown),
            f"{low:.1f}–{high:.1f}",
            f"{by_step.mean():.1f}",
            f"{100 * row['kept_share']:.0f}",
            unit.number(row["gmacs_per_video"]),
        )
    console = Console(markup=False, highlight=False)
    # Names and digits are never cut off: where the console is narrow, lines are longer than it is.
    console.width = max(console.width, Measurement.get(_WIDE, _WIDE.options, table).maximum)
    console.print(table)
    if len(shown) < steps:
        console.print(
            f"{len(shown)} of {steps} frames are shown; the mean is over all, and --json prints all"
        )
