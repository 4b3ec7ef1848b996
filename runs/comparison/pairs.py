"""How a design differs from the reference, where both were run with the same seeds and videos."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...recognizer import Purpose, generator
from .cells import Cell, other_videos
from .statistics import (
    Array,
    Statistic,
    bootstrap_crossed,
    bootstrap_seeds,
    bootstrap_videos,
    deciding,
    interval,
    mean_over_groups,
    mean_probability,
    t_interval,
)
from .table import MEASURES


@dataclass(frozen=True)
class Resampling:
    """Statistics with intervals from resampling, ready for JSON."""

    seed: int
    resamples: int

    def over_seeds(
        self,
        statistic: Statistic,
        groups: Sequence[Array],
        runs: Sequence[Hashable] | None = None,
    ) -> tuple[Any, Any]:
        """Return the statistic and its interval; None where a group has one seed.

        ``runs`` as of `bootstrap_seeds`.
        """
        value = statistic(groups).tolist()
        if _fewest(groups) < 2:
            return value, None
        # The same draws for everything: a figure does not depend on what else is compared.
        rng = generator(Purpose.RESAMPLING, self.seed)
        drawn = bootstrap_seeds(statistic, groups, rng, self.resamples, runs)
        return value, interval(drawn).T.tolist()

    def over_videos(self, sets: Sequence[Array], weights: Sequence[float]) -> Any:
        """Return the interval of the weighted mean of means; None where a set has one video."""
        if _fewest(sets) < 2:
            return None
        return interval(self._drawn(sets, weights)).T.tolist()

    def drawn_videos(self, values: Array) -> Array:
        """Return means ``(..., resamples)`` over drawn videos of what was measured ``(..., B)``."""
        return self._drawn([values], [1.0])

    def drawn_crossed(self, values: Array) -> Array:
        """Return means ``(..., resamples)`` over drawn seeds and videos of ``(..., S, B)``."""
        rng = generator(Purpose.RESAMPLING, self.seed)
        return bootstrap_crossed(values, rng, self.resamples)

    def _drawn(self, sets: Sequence[Array], weights: Sequence[float]) -> Array:
        rng = generator(Purpose.RESAMPLING, self.seed)
        return bootstrap_videos(sets, weights, rng, self.resamples)


@dataclass(frozen=True)
class _Pairs:
    """Runs of a design and of the reference in one group, side by side.

    Attributes:
        seeds: Of the pairs, S of them.
        differences: ``(3, S, B)``: outcomes of the design less those of the reference.
        left_out: Seeds that only one of the two has.
        runs: Names the seeds and, of the design and the reference, the runs.
    """

    seeds: list[int]
    differences: Array
    left_out: set[int]
    runs: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def against(
    label: str,
    strata: Sequence[Sequence[Cell]],
    reference: str,
    references: Mapping[str, Sequence[Cell]],
    resampling: Resampling,
) -> dict[str, Any]:
    """Return how a design differs from the reference.

    Over several groups there is a difference, a probability and a verdict only if the design is
    paired with the reference in each of them: a mean over other groups could say the opposite of
    the accuracies beside it.

    Args:
        label: Label of the design.
        strata: Its runs, group by group.
        reference: Label of the reference.
        references: Its runs by group.
        resampling: Where intervals come from.
    """
    scores: list[Array] = []
    runs: list[Hashable] = []
    pairs_by_group: dict[str, _Pairs] = {}
    reasons = []
    for row in strata:
        group, theirs = row[0].group, references.get(row[0].group)
        if theirs is None:
            reasons.append(f"{group}: {reference} has no run there")
        elif problem := other_videos(row[0], theirs[0]):
            reasons.append(f"{group}: {problem}")
        else:
            scores += [_final(row), _final(theirs)]
            runs += [("ours", runs_of(row)), ("theirs", runs_of(theirs))]
            pairs = _pair(row, theirs, reference)
            if isinstance(pairs, _Pairs):
                pairs_by_group[group] = pairs
            else:
                reasons.append(f"{group}: {pairs}")
    if reasons and pairs_by_group:
        reasons.insert(
            0, f"paired in {', '.join(pairs_by_group)} alone: no difference over all groups"
        )
    result: dict[str, Any] = {
        "difference": None,
        "probability_of_improvement": None,
        "seeds_compared": [],
        "seeds_left_out": [],
        "unpaired": "; ".join(reasons) or None,
        "verdict": "unpaired",
    }
    if scores and (not reasons or len(strata) == 1):
        value, bounds = resampling.over_seeds(mean_probability, scores, runs)
        result["probability_of_improvement"] = {"value": value, "interval": bounds}
    if not reasons:
        everywhere = list(pairs_by_group.values())
        result["seeds_compared"] = sorted({s for pairs in everywhere for s in pairs.seeds})
        result["seeds_left_out"] = sorted({s for pairs in everywhere for s in pairs.left_out})
        videos = [row[0].played.names.tobytes() for row in strata]
        result["difference"] = _difference(everywhere, videos, resampling)
        result["verdict"] = _verdict(result["difference"]["final_accuracy"])
    if label == reference:
        result["verdict"] = "reference"
    return result


def _pair(ours: Sequence[Cell], theirs: Sequence[Cell], reference: str) -> _Pairs | str:
    """Pair runs of the same seed, or say why they cannot be.

    What is not trained and has one run goes with every seed.
    """
    left_out: set[int] = set()
    if len(ours) == 1 and ours[0].kind in ("fixed", "bound"):
        pairs = [(cell.seed, ours[0], cell) for cell in theirs]
    elif len(theirs) == 1 and theirs[0].kind in ("fixed", "bound"):
        pairs = [(cell.seed, cell, theirs[0]) for cell in ours]
    else:
        by_seed = {cell.seed: cell for cell in theirs}
        left_out = {cell.seed for cell in ours} ^ by_seed.keys()
        pairs = [(c.seed, c, by_seed[c.seed]) for c in ours if c.seed in by_seed]
        if not pairs:
            return f"no seed in common with {reference}"
        if left_out and len(pairs) == 1:
            return f"only seed {pairs[0][0]} in common with {reference}, and two are needed"
    differences = np.stack([x.outcome - y.outcome for _, x, y in pairs], axis=1)
    seeds = [seed for seed, _, _ in pairs]
    return _Pairs(seeds, differences, left_out, (tuple(seeds), runs_of(ours), runs_of(theirs)))


def _difference(
    everywhere: Sequence[_Pairs], videos: Sequence[bytes], resampling: Resampling
) -> dict[str, Any]:
    """Return the differences with their intervals; ``videos`` says which groups share theirs."""
    by_seed = [pairs.differences.mean(axis=-1) for pairs in everywhere]  # (3, S) each
    value, bounds = resampling.over_seeds(mean_over_groups, by_seed, _together(everywhere))
    t_bounds = None
    if _fewest(by_seed) > 1:
        t_bounds = t_interval(by_seed, [pairs.seeds for pairs in everywhere]).T.tolist()
    # Groups on the same videos are drawn together, so that their videos stay paired as well.
    sets: dict[bytes, list[Array]] = {}
    for pairs, names in zip(everywhere, videos, strict=True):
        sets.setdefault(names, []).append(pairs.differences.mean(axis=1))
    weights = [len(each) / len(everywhere) for each in sets.values()]
    drawn = [np.asarray(np.mean(each, axis=0)) for each in sets.values()]
    videos_bounds = resampling.over_videos(drawn, weights)
    return {
        name: {
            "value": value[i],
            "over_videos": videos_bounds and videos_bounds[i],
            "over_seeds": bounds and bounds[i],
            "over_seeds_t": t_bounds and t_bounds[i],
        }
        for i, name in enumerate(MEASURES)
    }


def _together(everywhere: Sequence[_Pairs]) -> Sequence[Hashable] | None:
    """Name the groups whose seeds are drawn together: where one side is the same runs in all."""
    seeds, *sides = zip(*(pairs.runs for pairs in everywhere), strict=True)
    shared = any(len({*side}) == 1 and len(side[0]) > 1 for side in sides)
    return seeds if shared else None


def runs_of(row: Sequence[Cell]) -> tuple[int, ...]:
    """Name the runs of a row: cells that hold the same `Played` object are of one run."""
    return tuple(id(cell.played) for cell in row)


def _final(row: Sequence[Cell]) -> Array:
    """Return ``(S,)``: accuracy after all frames."""
    return np.array([cell.outcome[0].mean() for cell in row])


def _fewest(groups: Sequence[Array]) -> int:
    return min(int(scores.shape[-1]) for scores in groups)


def _verdict(difference: dict[str, Any]) -> str:
    """Say whether the intervals over videos and, by t, over seeds lie on one side of zero.

    The percentiles of a few resampled seeds are too close together to decide anything.
    """
    bounds = deciding(difference)
    if bounds is not None and bounds[0] > 0:
        return "higher"
    if bounds is not None and bounds[1] < 0:
        return "lower"
    return "not apart"
