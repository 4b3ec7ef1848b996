"""Rows on the plane of accuracy and cost: which none beats, and how much of it a curve covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .cells import Cell
from .pairs import Resampling
from .statistics import Array, interval


def on_front(accuracy: Array, gmacs: Array) -> Array:
    """Say which points are not beaten by any other.

    Args:
        accuracy: ``(N,)``.
        gmacs: ``(N,)``.

    Returns:
        ``(N,)`` bool: whether no other point is at least as accurate and at most as dear, and
        better in one of the two.
    """
    no_worse = (accuracy >= accuracy[:, None]) & (gmacs <= gmacs[:, None])  # (N, N): j beside i
    better = (accuracy > accuracy[:, None]) | (gmacs < gmacs[:, None])
    return np.asarray(~(no_worse & better).any(axis=1))


def hypervolume(accuracy: Array, gmacs: Array, most_gmacs: float) -> Array:
    """Return the share of the plane below a curve.

    With a budget that is drawn evenly from 0 to ``most_gmacs``, it is the accuracy that can be
    expected of the most accurate point that the budget allows, 0 where it allows none.

    Args:
        accuracy: ``(..., N)`` of the points of a curve, shares.
        gmacs: ``(..., N)``, their costs; of a point beyond ``most_gmacs`` nothing is counted.
        most_gmacs: Where the plane ends.

    Returns:
        ``(...)``, in [0, 1].
    """
    order = np.argsort(gmacs, axis=-1)
    spent = np.take_along_axis(gmacs, order, axis=-1).clip(0, most_gmacs)
    best = np.maximum.accumulate(np.take_along_axis(accuracy, order, axis=-1), axis=-1)
    ends = np.concatenate([spent[..., 1:], np.full((*spent.shape[:-1], 1), most_gmacs)], axis=-1)
    return np.asarray((best * (ends - spent)).sum(axis=-1) / most_gmacs)


def plane_of(
    rows: Mapping[tuple[str, str], Sequence[Cell]], resampling: Resampling
) -> list[dict[str, Any]]:
    """Return how the designs stand on the plane of accuracy after all frames and GMACs per video.

    The curve of a design goes over all that it was run at: option groups, settings, η. The plane
    ends at the dearest row. Bounds are left out.

    Args:
        rows: Cells by label and group.
        resampling: Where intervals over videos come from.

    Returns:
        JSON-able, for each design the ``hypervolume`` with its interval over videos, and the rows
        on the ``front`` as label and group.
    """
    points = {key: _point(row) for key, row in rows.items() if row[0].kind != "bound"}
    if not points:
        return []
    means = {key: point.mean(axis=-1) for key, point in points.items()}
    most = max(gmacs for _, gmacs in means.values())

    def bounds(keys: Sequence[tuple[str, str]]) -> Any:
        videos = {rows[key][0].played.names.tobytes() for key in keys}
        if len(videos) > 1 or points[keys[0]].shape[-1] == 1:  # not the same videos in all
            return None
        together = np.stack([points[key] for key in keys])  # (N, 2, B)
        drawn = resampling.drawn_videos(together)  # (N, 2, draws)
        return interval(hypervolume(drawn[:, 0].T, drawn[:, 1].T, most)).tolist()

    return _standing({key: rows[key][0].design for key in points}, means, bounds)


def precision_plane(
    rows: Mapping[tuple[str, str], Sequence[Cell]],
) -> list[dict[str, Any]]:
    """Return the same with the mean average precision in place of the accuracy.

    It is no mean over videos, and has no interval over them. Where videos have one label each, and
    of rows that have none, nothing is returned.
    """
    means = {
        key: np.mean([[c.played.precision, c.played.gmacs_by_step[-1]] for c in row], axis=0)
        for key, row in rows.items()
        if row[0].kind != "bound"
    }
    means = {key: mean for key, mean in means.items() if not np.isnan(mean).any()}
    return _standing({key: rows[key][0].design for key in means}, means, lambda keys: None)


def _standing(
    designs: Mapping[tuple[str, str], str],
    means: Mapping[tuple[str, str], Array],
    bounds: Callable[[Sequence[tuple[str, str]]], Any],
) -> list[dict[str, Any]]:
    """Return how designs stand.

    Args:
        designs: By row.
        means: By row, quality and GMACs per video ``(2,)``.
        bounds: Of rows of a design, the interval over videos of its hypervolume.
    """
    if not means:
        return []
    every = np.stack([*means.values()])  # (N, 2)
    front = dict(zip(means, on_front(every[:, 0], every[:, 1]), strict=True))
    most, standings = float(every[:, 1].max()), []
    for design in dict.fromkeys(designs.values()):
        keys = [key for key in means if designs[key] == design]
        quality, gmacs = np.stack([means[key] for key in keys], axis=1)
        standings.append(
            {
                "design": design,
                "hypervolume": {
                    "value": float(hypervolume(quality, gmacs, most)),
                    "over_videos": bounds(keys),
                },
                "front": [list(key) for key in keys if front[key]],
            }
        )
    return standings


def _point(row: Sequence[Cell]) -> Array:
    """Return ``(2, B)``: whether each video is right at the end, and its GMACs, over seeds."""
    right = np.mean([cell.outcome[0] for cell in row], axis=0)
    gmacs = np.mean([cell.played.gmacs[:, -1] for cell in row], axis=0)
    return np.stack([right, gmacs])
