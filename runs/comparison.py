"""Policies beside each other: what is known of each from its seeds, and whether they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..recognizer import FocusgymError
from .comparison_table import ALL_GROUPS, MEASURES, print_comparison, table
from .comparison_words import conclusions, notes
from .played import Played
from .statistics import (
    LEVEL,
    Array,
    Statistic,
    bootstrap_seeds,
    bootstrap_videos,
    interval,
    mean_over_groups,
    mean_probability,
    pooled_interquartile_mean,
)

__all__ = ["Cell", "ComparisonError", "print_comparison", "summarise", "table"]

CURVE = {"steps", "mean_return", "correct"}


class ComparisonError(FocusgymError):
    """Runs cannot stand beside each other; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One trained (or fixed) policy of a comparison.

    Attributes:
        design: Name of the row: a reward design, a run's name, ``"random"``, …
        group: Option group, such as ``"p28_7x7"``.
        patch_px: Side P of the patches of the group.
        seed: Of the training, or of the draws of a fixed policy.
        played: What it did in the videos of the test split.
        kind: ``"trained"``; ``"fixed"``, decided without learning; ``"bound"``, knows the truth;
            ``"plus"``, AdaFocus+ at one η.
        keep_ratio: η of the kind ``"plus"``.
        curve: Learning curve: columns ``steps``, ``mean_return`` and ``correct`` (share of the
            training episodes that end right), one row per rollout.

    Raises:
        ComparisonError: If there is an η but no AdaFocus+ or the other way round, or the learning
            curve has other columns.
    """

    design: str
    group: str
    patch_px: int
    seed: int
    played: Played
    kind: Literal["trained", "fixed", "bound", "plus"] = "trained"
    keep_ratio: float | None = None
    curve: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        """Check η and the learning curve."""
        if (self.kind == "plus") != (self.keep_ratio is not None):
            raise ComparisonError(
                f"{self.design}: expected keep_ratio with kind 'plus' and only there; got kind "
                f"{self.kind!r} and keep_ratio {self.keep_ratio}: give both or neither"
            )
        if self.curve is not None and (missing := CURVE - set(self.curve.columns)):
            raise ComparisonError(
                f"{self.design}: expected a learning curve with columns {sorted(CURVE)}; got "
                f"{list(self.curve.columns)}: add {sorted(missing)}"
            )

    @property
    def label(self) -> str:
        """The design, and η where there is one: the name of a row."""
        return self.design if self.keep_ratio is None else f"{self.design} η={self.keep_ratio:g}"

    @property
    def outcome(self) -> Array:
        """``(2, B)``: whether a video is right after all frames; in which share of the frames."""
        correct = self.played.correct
        return np.stack([correct[:, -1].astype(np.float64), correct.mean(axis=1)])


@dataclass(frozen=True)
class _Resampling:
    seed: int
    resamples: int

    def over_seeds(self, statistic: Statistic, groups: Sequence[Array]) -> tuple[Any, Any]:
        """Return the statistic and its interval; None where a group has one seed."""
        value = statistic(groups).tolist()
        if min(scores.shape[-1] for scores in groups) < 2:
            return value, None
        # The same draws for everything: a figure does not depend on what else is compared.
        rng = np.random.default_rng(self.seed)
        return value, interval(bootstrap_seeds(statistic, groups, rng, self.resamples)).T.tolist()

    def over_videos(self, sets: Sequence[Array], weights: Sequence[float]) -> Any:
        """Return the interval of the weighted mean of means; None where a set has one video."""
        if min(values.shape[-1] for values in sets) < 2:
            return None
        rng = np.random.default_rng(self.seed)
        return interval(bootstrap_videos(sets, weights, rng, self.resamples)).T.tolist()


def summarise(
    cells: Sequence[Cell], reference: str, *, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Compute what is known of each design in each group and over all, and against a reference.

    Args:
        cells: The policies; designs may lack seeds or groups.
        reference: Label of the design that the others are compared with.
        seed: Of the resampling.
        resamples: How often seeds and videos are drawn.

    Returns:
        JSON-able: ``rows``, one per design and group, with scores, intervals over seeds and the
        paired difference to the reference; ``overall``, the same over all groups of a design;
        ``conclusions`` and ``notes`` in words.

    Raises:
        ComparisonError: If there are no cells, one comes twice, the reference is not among them,
            or the cells of a row have other numbers of frames or other videos.
    """
    rows: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        rows.setdefault((cell.label, cell.group), []).append(cell)
    labels = list(dict.fromkeys(label for label, _ in rows))
    groups = list(dict.fromkeys(group for _, group in rows))
    if reference not in labels:
        raise ComparisonError(
            f"expected a reference among the designs compared; got {reference!r} beside {labels}: "
            "name one of them"
        )
    for key, row in rows.items():
        row.sort(key=lambda cell: cell.seed)
        _check_row(*key, row)
    resampling = _Resampling(seed, resamples)
    references = {group: rows[reference, group] for group in groups if (reference, group) in rows}
    summary: dict[str, Any] = {
        "reference": reference,
        "level": LEVEL,
        "resamples": resamples,
        "resampling_seed": seed,
        "labels": labels,
        "groups": groups,
        "rows": [
            {"label": label, "group": group}
            | _scores([row], resampling)
            | _steps(row, resampling)
            | _against(label, [row], reference, references, resampling)
            for (label, group), row in sorted(
                rows.items(), key=lambda item: (groups.index(item[0][1]), labels.index(item[0][0]))
            )
        ],
        "overall": [],
    }
    for label in labels:
        strata = [rows[label, group] for group in groups if (label, group) in rows]
        summary["overall"].append(
            {"label": label, "group": ALL_GROUPS, "groups": [row[0].group for row in strata]}
            | _scores(strata, resampling)
            | _against(label, strata, reference, references, resampling)
        )
    return summary | {"conclusions": conclusions(summary), "notes": notes(summary)}


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
        if problem := _other_videos(row[0], cell):
            raise ComparisonError(
                f"{label}, {group}: expected the same videos in every run; {problem} (seeds "
                f"{row[0].seed} and {cell.seed}): evaluate the runs on one split"
            )


def _other_videos(ours: Cell, theirs: Cell) -> str | None:
    """Say in what the test videos of two cells differ; None if they are the same."""
    x, y = ours.played, theirs.played
    if not np.array_equal(x.names, y.names):
        shared = len(np.intersect1d(x.names, y.names))
        return f"other videos: {len(x.names)} and {len(y.names)}, {shared} of them in both"
    if not np.array_equal(x.labels, y.labels):
        return f"other true classes in {int((x.labels != y.labels).sum())} videos"
    return None


def _scores(strata: Sequence[Sequence[Cell]], resampling: _Resampling) -> dict[str, Any]:
    """Return accuracies with intervals over seeds, and costs; each group counts the same."""
    first = strata[0][0]
    scores = [_seed_scores(row) for row in strata]
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
        "patch_px": first.patch_px if len(strata) == 1 else None,
        "n_videos": min(len(row[0].played.names) for row in strata),
        "seeds": sorted({cell.seed for row in strata for cell in row}),
        "fewest_seeds": min(len(row) for row in strata),
        **estimates,
        "interquartile_mean": {
            "value": middle[0],
            "interval": middle_bounds and middle_bounds[0],
        },
        "gmacs_per_video": _mean([[cell.played.gmacs_by_step[-1] for cell in r] for r in strata]),
        "kept_share": _mean([[cell.played.kept_share for cell in row] for row in strata]),
    }


def _mean(strata: Sequence[Sequence[float]]) -> float:
    return float(np.mean([np.mean(values) for values in strata]))


def _seed_scores(row: Sequence[Cell]) -> Array:
    """Return ``(2, S)``: accuracy after all frames, and its mean over the frames."""
    return np.stack([cell.outcome.mean(axis=1) for cell in row], axis=1)


def _steps(row: Sequence[Cell], resampling: _Resampling) -> dict[str, Any]:
    """Return what happens frame by frame, and the accuracy of every seed."""
    by_step = np.stack([cell.played.accuracy_by_step for cell in row], axis=1)  # (T, S)
    accuracy, bounds = resampling.over_seeds(mean_over_groups, [by_step])
    gmacs = np.mean([cell.played.gmacs_by_step for cell in row], axis=0)
    return {
        "final_accuracy_by_seed": by_step[-1].tolist(),
        "accuracy_by_step": {"value": accuracy, "interval": bounds},
        "gmacs_by_step": gmacs.tolist(),
    }


def _against(
    label: str,
    strata: Sequence[Sequence[Cell]],
    reference: str,
    references: dict[str, list[Cell]],
    resampling: _Resampling,
) -> dict[str, Any]:
    """Return how a design differs from the reference, over the groups where both can be paired."""
    scores: list[Array] = []
    paired: dict[bytes, list[NDArray[np.float64]]] = {}
    seeds: set[int] = set()
    by_seed, reasons = [], []
    for row in strata:
        theirs = references.get(row[0].group)
        if theirs is None:
            reasons.append(f"{row[0].group}: {reference} has no run there")
            continue
        if problem := _other_videos(row[0], theirs[0]):
            reasons.append(f"{row[0].group}: {problem}")
            continue
        scores += [_seed_scores(row)[0], _seed_scores(theirs)[0]]
        pairs = _pairs(row, theirs)
        if not pairs:
            reasons.append(f"{row[0].group}: no seed in common with {reference}")
            continue
        seeds |= {pair[1].seed for pair in pairs}
        differences = np.stack([x.outcome - y.outcome for x, y in pairs], axis=1)  # (2, S, B)
        by_seed.append(differences.mean(axis=-1))
        # Groups on the same videos are drawn together, so that their videos stay paired as well.
        videos = row[0].played.names.tobytes()
        paired.setdefault(videos, []).append(differences.mean(axis=1))
    result: dict[str, Any] = {
        "difference": None,
        "probability_of_improvement": None,
        "seeds_compared": sorted(seeds),
        "unpaired": "; ".join(reasons) or None,
        "verdict": "unpaired",
    }
    if scores:
        value, bounds = resampling.over_seeds(mean_probability, scores)
        result["probability_of_improvement"] = {"value": value, "interval": bounds}
    if by_seed:
        value, bounds = resampling.over_seeds(mean_over_groups, by_seed)
        sets = [np.mean(values, axis=0) for values in paired.values()]
        weights = [len(values) / len(by_seed) for values in paired.values()]
        videos_bounds = resampling.over_videos(sets, weights)
        result["difference"] = {
            name: {
                "value": value[i],
                "over_videos": videos_bounds and videos_bounds[i],
                "over_seeds": bounds and bounds[i],
            }
            for i, name in enumerate(MEASURES)
        }
        result["verdict"] = _verdict(result["difference"]["final_accuracy"])
    if label == reference:
        result["verdict"] = "reference"
    return result


def _pairs(ours: Sequence[Cell], theirs: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Pair runs of the same seed; what is not trained and has one run goes with every seed."""
    if len(ours) == 1 and ours[0].kind in ("fixed", "bound"):
        return [(ours[0], each) for each in theirs]
    if len(theirs) == 1 and theirs[0].kind in ("fixed", "bound"):
        return [(each, theirs[0]) for each in ours]
    by_seed = {cell.seed: cell for cell in theirs}
    return [(cell, by_seed[cell.seed]) for cell in ours if cell.seed in by_seed]


def _verdict(difference: dict[str, Any]) -> str:
    """Say whether all intervals that there are lie on one side of zero."""
    bounds = [difference[name] for name in ("over_videos", "over_seeds") if difference[name]]
    if bounds and all(low > 0 for low, _ in bounds):
        return "higher"
    if bounds and all(high < 0 for _, high in bounds):
        return "lower"
    return "not apart"
