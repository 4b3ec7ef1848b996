"""Policies beside each other: what is known of each from its seeds, and whether they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .cells import STATIC, Cell, ComparisonError, other_videos
from .front import plane_of, precision_plane
from .gains import ADAPTIVE, ANY, SAME, StaticRow, gains_of
from .pairs import Resampling, against, runs_of
from .statistics import LEVEL, Array, mean_over_groups, pooled_interquartile_mean
from .table import ALL_GROUPS, MEASURES, print_comparison, table
from .words import conclusions, notes, tested_videos

__all__ = ["Cell", "ComparisonError", "print_comparison", "rows_of_cells", "summarise", "table"]


_NO_GAINS: dict[str, Any] = {"gains": {SAME: None, ANY: None}}
_UNCOMPARED = _NO_GAINS | {
    "difference": None,
    "probability_of_improvement": None,
    "seeds_compared": [],
    "seeds_left_out": [],
    "unpaired": None,
    "verdict": STATIC,
}


def summarise(
    cells: Sequence[Cell],
    reference: str,
    static: Sequence[Cell] = (),
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Compute what is known of each design in each group and over all, and against a reference.

    Args:
        cells: The policies; designs may lack seeds or groups.
        reference: Label of the design that the others are compared with.
        static: What does the same in every video: on the plane beside all option groups.
        seed: Seed of the resampling.
        resamples: How often seeds and videos are drawn.

    Returns:
        JSON-able: ``rows``, one per design and group, with scores, intervals over seeds and the
        paired difference to the reference and gains over static rows, see `gains_of`; ``static``,
        the static rows; ``overall``, the same over all groups, of the designs
        that have runs in each; ``plane``, see `plane_of`, and ``precision_plane``, see
        `precision_plane`; ``conclusions``, ``notes`` and ``test_videos`` in words.

    Raises:
        ComparisonError: If there are no cells, one comes twice, the reference is not among them,
            or the cells of a row have other numbers of frames or other videos.
    """
    rows, static_rows = rows_of_cells(cells), rows_of_cells(static)
    beside = {label: StaticRow.of(row) for (label, _), row in static_rows.items()}
    labels = list(dict.fromkeys(label for label, _ in rows))
    groups = list(dict.fromkeys(group for _, group in rows))
    if reference not in labels:
        raise ComparisonError(
            f"expected a reference among the designs compared; got {reference!r} beside {labels}: "
            "name one of them"
        )
    resampling = Resampling(seed, resamples)
    references = {group: rows[reference, group] for group in groups if (reference, group) in rows}
    summary: dict[str, Any] = {
        "reference": reference,
        "level": LEVEL,
        "resamples": resamples,
        "resampling_seed": seed,
        "labels": labels,
        "groups": groups,
        "test_videos": tested_videos([row[0] for row in rows.values()]),
        "rows": [
            {"label": label, "group": group}
            | _scores([row], resampling)
            | _steps(row, resampling)
            | against(label, [row], reference, references, resampling)
            | (
                {"gains": gains_of(row, beside, resampling)}
                if row[0].kind in ADAPTIVE and beside
                else _NO_GAINS
            )
            for (label, group), row in sorted(
                rows.items(), key=lambda item: (groups.index(item[0][1]), labels.index(item[0][0]))
            )
        ],
        "static": [
            {"label": label, "group": group}
            | _scores([row], resampling)
            | _steps(row, resampling)
            | _UNCOMPARED
            for (label, group), row in static_rows.items()
        ],
        "overall": [],
        "plane": plane_of(rows | static_rows, resampling),
        "precision_plane": precision_plane(rows | static_rows),
    }
    for label in labels:
        strata = [rows[label, group] for group in groups if (label, group) in rows]
        if len(strata) < len(groups):
            continue  # a mean over other groups is not to be set beside the others'
        summary["overall"].append(
            {"label": label, "group": ALL_GROUPS}
            | _scores(strata, resampling)
            | against(label, strata, reference, references, resampling)
            | _NO_GAINS
        )
    return summary | {"conclusions": conclusions(summary), "notes": notes(summary)}


def rows_of_cells(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Return the cells by label and group, those of a row by seed.

    Raises:
        ComparisonError: If one comes twice, or the cells of a row have other numbers of frames or
            other videos.
    """
    rows: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.label, cell.group), []).append(cell)
    for key, row in rows.items():
        row.sort(key=lambda cell: cell.seed)
        _check_row(*key, row)
    return rows


def _check_row(label: str, group: str, row: Sequence[Cell]) -> None:
    seeds = [cell.seed for cell in row]
    if len(set(seeds)) < len(seeds):
        raise ComparisonError(
            f"{label}, {group}: expected one run per seed; got seeds {seeds}: leave out the "
            "repeated ones, or give the runs names of their own"
        )
    for cell in row[1:]:
        steps = [each.played.predictions.shape[1] for each in (row[0], cell)]
        if steps[0] != steps[1]:
            raise ComparisonError(
                f"{label}, {group}: expected as many frames in every run; got {steps[0]} (seed "
                f"{row[0].seed}) and {steps[1]} (seed {cell.seed}): give the runs names of "
                "their own"
            )
        if problem := other_videos(row[0], cell):
            raise ComparisonError(
                f"{label}, {group}: expected the same videos in every run; {problem} (seeds "
                f"{row[0].seed} and {cell.seed}): evaluate the runs on one split"
            )


def _scores(strata: Sequence[Sequence[Cell]], resampling: Resampling) -> dict[str, Any]:
    """Return accuracies with intervals over seeds, and costs; each group counts the same.

    Runs that stand in every group, as those of systems do, are drawn once.
    """
    first = strata[0][0]
    once = strata[:1] if len({runs_of(row) for row in strata}) == 1 else strata
    scores = [_seed_scores(row) for row in once]
    accuracy, bounds = resampling.over_seeds(mean_over_groups, scores)
    middle, middle_bounds = resampling.over_seeds(
        pooled_interquartile_mean, [each[:1] for each in scores]
    )
    estimates = {
        name: {"value": accuracy[i], "interval": bounds and bounds[i]}
        for i, name in enumerate(MEASURES)
    }
    return {
        "design": first.design,
        "kind": first.kind,
        "keep_ratio": first.keep_ratio,
        "setting": first.setting,
        "usage": _usage(strata),
        "patch_px": first.patch_px if len(strata) == 1 else None,
        "n_videos": min(len(row[0].played.names) for row in strata),
        "seeds": sorted({cell.seed for row in strata for cell in row}),
        "fewest_seeds": min(len(row) for row in strata),
        **estimates,
        "final_over_videos": _over_videos(strata[0], resampling) if len(strata) == 1 else None,
        "interquartile_mean": {
            "value": middle[0],
            "interval": middle_bounds and middle_bounds[0],
        },
        "gmacs_per_video": _mean([[cell.played.gmacs_by_step[-1] for cell in r] for r in strata]),
        "kept_share": _mean([[cell.played.kept_share for cell in row] for row in strata]),
        "mean_average_precision": _precision(once, resampling),
        "milliseconds": _milliseconds(strata),
    }


def _precision(strata: Sequence[Sequence[Cell]], resampling: Resampling) -> dict[str, Any] | None:
    """Return the mean average precision with its interval over seeds; None where there is none."""
    scores = [np.array([[cell.played.precision for cell in row]]) for row in strata]
    if any(np.isnan(each).any() for each in scores):
        return None
    value, bounds = resampling.over_seeds(mean_over_groups, scores)
    return {"value": value[0], "interval": bounds and bounds[0]}


def _milliseconds(strata: Sequence[Sequence[Cell]]) -> float | None:
    """Return what a video took, of the runs that were timed; None where none was."""
    times = [c.milliseconds for row in strata for c in row if c.milliseconds is not None]
    return float(np.mean(times)) if times else None


def _over_videos(row: Sequence[Cell], resampling: Resampling) -> Any:
    """Return the interval over videos of the accuracy after all frames, mean over seeds."""
    right = np.mean([cell.outcome[0] for cell in row], axis=0)  # (B,)
    return resampling.over_videos([right], [1.0])


def _usage(strata: Sequence[Sequence[Cell]]) -> dict[str, float] | None:
    """Return the share of all segments that each option group has read, over seeds; else None."""
    cells = [cell for row in strata for cell in row if cell.usage is not None]
    names = dict.fromkeys(name for cell in cells for name in cell.usage or ())
    shares = {name: [(cell.usage or {}).get(name, 0.0) for cell in cells] for name in names}
    return {name: float(np.mean(each)) for name, each in shares.items()} if cells else None


def _mean(strata: Sequence[Sequence[float]]) -> float:
    return float(np.mean([np.mean(values) for values in strata]))


def _seed_scores(row: Sequence[Cell]) -> Array:
    """Return ``(3, S)``: each of MEASURES."""
    return np.stack([cell.outcome.mean(axis=1) for cell in row], axis=1)


def _steps(row: Sequence[Cell], resampling: Resampling) -> dict[str, Any]:
    """Return what happens frame by frame, and the accuracy of every seed."""
    by_step = np.stack([cell.played.accuracy_by_step for cell in row], axis=1)  # (T, S)
    accuracy, bounds = resampling.over_seeds(mean_over_groups, [by_step])
    gmacs = np.mean([cell.played.gmacs_by_step for cell in row], axis=0)
    return {
        "final_accuracy_by_seed": by_step[-1].tolist(),
        "accuracy_by_step": {"value": accuracy, "interval": bounds},
        "gmacs_by_step": gmacs.tolist(),
        "glances": row[0].played.glances,
    }
