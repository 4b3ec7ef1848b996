"""What a row gains over static rows of equal cost, with intervals over seeds and videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cells import Cell, other_videos
from .pairs import Resampling
from .statistics import Array, interval, t_interval
from .table import GAINS

SAME, ANY = GAINS  # over the static rows of the same f_C, and over those of all
ADAPTIVE = ("trained", "plus")  # kinds of rows that have gains


def envelope(accuracy: Array, gmacs: Array) -> NDArray[np.int64]:
    """Return the corners of the line that no point lies above, by their costs.

    What lies between two points is reached by drawing one of them for each video; so the line is
    concave. It rises: it ends at the most accurate point, and who may spend more need not.

    Args:
        accuracy: ``(N,)``.
        gmacs: ``(N,)``.

    Returns:
        Indices of the corners, from the cheapest point to the most accurate one.
    """
    corners: list[int] = []
    for i in np.lexsort((-accuracy, gmacs)).tolist():
        if corners and accuracy[i] <= accuracy[corners[-1]]:
            continue
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            rise = (accuracy[b] - accuracy[a]) * (gmacs[i] - gmacs[a])
            if rise > (accuracy[i] - accuracy[a]) * (gmacs[b] - gmacs[a]):
                break
            corners.pop()
        corners.append(i)
    return np.array(corners, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class StaticRow:
    """The runs of a static row.

    Attributes:
        first: Cell of one of the runs.
        by_seed: Of each seed ``(2, B)``: whether a video ends right, and its GMACs.
    """

    first: Cell
    by_seed: Mapping[int, Array]

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> StaticRow:
        """Return that of runs."""
        return cls(cells[0], {cell.seed: _measured(cell) for cell in cells})


def gains_of(
    row: Sequence[Cell], static: Mapping[str, StaticRow], resampling: Resampling
) -> dict[str, Any]:
    """Return by how much a row is more accurate than static rows of its mean cost.

    Static rows are joined by their `envelope`; what is cheaper than all of them is set beside the
    cheapest one, and what is dearer than the most accurate one beside that. Corners are chosen
    once, by all seeds and videos, which favours the static rows.

    Args:
        row: Its runs, by seed.
        static: By label; of these count the ones with all seeds of the row, on the same videos.
        resampling: Where intervals come from: seeds and videos are drawn, each with replacement,
            and all that was measured with a seed in a video stays together, the cost of the row as
            well. With one seed it is videos alone. The percentiles of a few drawn seeds are too
            close together, so the interval reaches as far as Student's over the seeds' gains does,
            where that is further.

    Returns:
        ``same_classifier`` over the static rows of the same f_C, ``any`` over those of all: the
        ``value``, its ``interval`` (None of one video and seed), and the labels of the one or two
        rows that it is set ``beside``; or None where there are no static rows.
    """
    seeds = [cell.seed for cell in row]
    gains: dict[str, Any] = {SAME: None, ANY: None}
    beside = {
        label: np.stack([each.by_seed[seed] for seed in seeds], axis=1)  # (2, S, B)
        for label, each in static.items()
        if {*seeds} <= {*each.by_seed} and not other_videos(row[0], each.first)
    }
    f_c = row[0].classifier
    same = [each for each in beside if f_c is not None and static[each].first.classifier == f_c]
    pools = {SAME: same, ANY: [*beside]}
    ours = np.stack([_measured(cell) for cell in row], axis=1)
    corners = {
        name: _neighbours(ours, {label: beside[label] for label in labels})
        for name, labels in pools.items()
        if labels
    }
    measured = [ours, *(beside[label] for two in corners.values() for label in two)]
    values = np.stack(measured)  # (1 to 5, 2, S, B)
    means, drawn = values.mean(axis=(-2, -1)), resampling.drawn_crossed(values)
    first = 1
    for name, two in corners.items():
        which = [0, *range(first, first + len(two))]
        bounds = [interval(_gain(drawn[which]))] if values.shape[-1] > 1 else []
        if len(seeds) > 1:
            bounds.append(t_interval([_gain(values[which].mean(axis=-1))], [seeds]))
        gains[name] = {
            "value": float(_gain(means[which])),
            "interval": _widest(bounds),
            "beside": two,
        }
        first += len(two)
    return gains


def _widest(bounds: Sequence[Array]) -> list[float] | None:
    """Return the lowest and the highest end of intervals; None where there is none."""
    return [float(np.min(bounds)), float(np.max(bounds))] if bounds else None


def _measured(cell: Cell) -> Array:
    """Return ``(2, B)``: whether a video ends right, and its GMACs."""
    return np.stack([cell.outcome[0], cell.played.gmacs[:, -1]])


def _neighbours(ours: Array, static: Mapping[str, Array]) -> list[str]:
    """Return the labels of the corners between which a row's mean cost lies; one beyond an end."""
    labels, points = [*static], np.stack([each.mean(axis=(1, 2)) for each in static.values()])
    corners = envelope(points[:, 0], points[:, 1])
    at = int(np.searchsorted(points[corners, 1], ours[1].mean()))
    return [labels[i] for i in corners[max(0, at - 1) : at + 1]]


def _gain(means: Array) -> Array:
    """Return the gain ``(...)`` from means ``(2 or 3, 2, ...)`` of a row and of what is beside."""
    (right, gmacs), (low, low_gmacs), *more = means
    if not more:
        return np.asarray(right - low)
    ((high, high_gmacs),) = more
    slope = (high - low) / (high_gmacs - low_gmacs)
    return np.asarray(right - low - slope * (gmacs - low_gmacs))
