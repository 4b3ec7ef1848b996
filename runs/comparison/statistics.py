"""Intervals and comparisons over few seeds and many videos, by resampling what was measured."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t, trim_mean

Array = NDArray[np.float64]
Statistic = Callable[[Sequence[Array]], Array]

LEVEL = 0.95
DECIDING = ("over_videos", "over_seeds_t")  # intervals of a difference, for its verdict
_DRAWS = 1_000_000  # resampled videos at a time: memory does not grow with B

# How often `interval` of n seeds holds the true mean of normal scores, in percent: few seeds cannot
# say how far apart seeds lie, and the percentiles of their resamples are too close together.
COVERAGE = {2: 50, 3: 75, 4: 80, 5: 83, 6: 86, 7: 87, 8: 88, 9: 89, 10: 90}

# How often two equal designs seem apart, in percent, where both the interval over 1,000 videos and
# `t_interval` of n seeds must leave out zero (for one seed, the former alone): accuracies of seeds
# are normal about 70 %, with a standard deviation of 0, 1 and 3 points. Simulated.
EQUAL_APART = {
    1: (5, 11, 39),
    2: (1, 1, 3),
    3: (1, 2, 4),
    4: (2, 3, 5),
    5: (2, 3, 5),
    6: (2, 3, 5),
    7: (3, 4, 5),
    8: (3, 4, 5),
    9: (3, 4, 5),
    10: (3, 4, 5),
}


def interquartile_mean(scores: Array, axis: int = -1) -> Array:
    """Return the mean of the middle half: a quarter is cut off at either end, rounded down.

    Source: Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice", section 4.3.
    """
    return np.asarray(trim_mean(scores, 0.25, axis=axis))


def probability_of_improvement(ours: Array, theirs: Array) -> Array:
    """Return P(X > Y) + P(X = Y) / 2 over all pairs of a score of ours and one of theirs.

    Args:
        ours: ``(..., S)`` scores, one per seed.
        theirs: ``(..., S')`` scores.

    Returns:
        ``(...)`` in [0, 1]; 1/2 where neither is better.

    Source: Agarwal et al. 2021, section 4.3; the Mann-Whitney U over the number of pairs.
    """
    signs = np.sign(ours[..., :, None] - theirs[..., None, :])
    return np.asarray((1 + signs.mean(axis=(-2, -1))) / 2)


def mean_over_groups(groups: Sequence[Array]) -> Array:
    """Return the mean over groups of the mean over seeds: ``(..., S)`` of each to ``(...)``."""
    return np.asarray(np.mean([scores.mean(axis=-1) for scores in groups], axis=0))


def pooled_interquartile_mean(groups: Sequence[Array]) -> Array:
    """Return the interquartile mean of all scores of all groups: ``(..., S)`` each to ``(...)``."""
    return interquartile_mean(np.concatenate(groups, axis=-1))


def mean_probability(groups: Sequence[Array]) -> Array:
    """Return the mean over groups of the probability of improvement.

    Args:
        groups: Ours ``(..., S)`` and theirs ``(..., S')`` of the first group, then of the second, …
    """
    pairs = zip(groups[::2], groups[1::2], strict=True)
    return np.asarray(np.mean([probability_of_improvement(*pair) for pair in pairs], axis=0))


def bootstrap_seeds(
    statistic: Statistic,
    groups: Sequence[Array],
    rng: np.random.Generator,
    resamples: int,
    runs: Sequence[Hashable] | None = None,
) -> Array:
    """Draw seeds with replacement, in each group by itself, and compute a statistic of the draws.

    Args:
        statistic: Of a list of groups ``(..., S)``, without its last axis.
        groups: ``(..., S)`` scores of each group; S may differ.
        rng: Where the draws come from.
        resamples: How many times the seeds are resampled.
        runs: Names the runs of each group: the same seeds are drawn of the same runs, which need as
            many seeds. None where all groups have runs of their own.

    Returns:
        ``(..., resamples)``.

    Source: Agarwal et al. 2021, section 4.2 (stratified bootstrap; a group is their task).
    """
    draws: dict[Hashable, NDArray[np.int64]] = {}
    drawn = []
    for scores, key in zip(groups, range(len(groups)) if runs is None else runs, strict=True):
        size = scores.shape[-1]
        if key not in draws:
            draws[key] = rng.integers(size, size=(resamples, size))
        drawn.append(scores[..., draws[key]])
    return statistic(drawn)


def bootstrap_videos(
    sets: Sequence[Array], weights: Sequence[float], rng: np.random.Generator, resamples: int
) -> Array:
    """Draw videos with replacement, in each set by itself, and take the weighted mean of means.

    All that was measured on a video stays together: differences between policies are paired.

    Args:
        sets: ``(..., B)`` what was measured on the videos of each set; B may differ.
        weights: Of the sets, with sum 1.
        rng: Where the draws come from.
        resamples: How many times the videos are resampled.

    Returns:
        ``(..., resamples)``.
    """
    total: Array = np.zeros(())
    for values, weight in zip(sets, weights, strict=True):
        n = values.shape[-1]
        rows = max(1, _DRAWS // n)
        means = []
        for start in range(0, resamples, rows):
            counts = _draw_counts(rng, n, min(rows, resamples - start))
            means.append(values @ counts.T / n)
        total = total + weight * np.concatenate(means, axis=-1)
    return total


def bootstrap_crossed(values: Array, rng: np.random.Generator, resamples: int) -> Array:
    """Draw seeds and videos with replacement, and take the mean of what was measured.

    All seeds were tested on the same videos, so that the drawn videos are those of all drawn seeds.

    Args:
        values: ``(..., S, B)`` what was measured with each seed on each video.
        rng: Where the draws come from.
        resamples: How many times both are resampled.

    Returns:
        ``(..., resamples)``.

    Source: Owen 2007, "The pigeonhole bootstrap".
    """
    n_seeds, n = values.shape[-2:]
    rows = max(1, _DRAWS // n)
    means = []
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        seeds, videos = _draw_counts(rng, n_seeds, size), _draw_counts(rng, n, size)
        by_seed = values @ videos.T  # (..., S, size)
        means.append((by_seed * seeds.T).sum(axis=-2) / (n_seeds * n))
    return np.concatenate(means, axis=-1)


def _draw_counts(rng: np.random.Generator, n: int, draws: int) -> Array:
    """Draw n of n with replacement: ``(draws, n)``, how often each was drawn."""
    drawn = rng.integers(n, size=(draws, n))
    drawn += n * np.arange(draws)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
    return counts.astype(np.float64)


def interval(resampled: Array) -> Array:
    """Return the middle 95 % of resampled statistics: ``(..., resamples)`` to ``(2, ...)``."""
    return np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1)


def t_interval(groups: Sequence[Array], seeds: Sequence[Sequence[int]]) -> Array:
    """Return Student's interval of a mean over groups of means over seeds.

    Few seeds make it wide, as they must: t times the standard error is 9.0 standard deviations of
    the scores to either side for 2 seeds, 2.5 for 3, 1.2 for 5.

    Args:
        groups: ``(..., S)`` scores of each group, normal, with S ≥ 2; S may differ.
        seeds: Of each group. Where all groups have the same, scores of a seed are averaged over
            groups first: they may move together. Else the ends of the groups' own intervals are
            averaged, which is wide enough however the groups move together.

    Returns:
        ``(2, ...)``.
    """
    if all(list(each) == list(seeds[0]) for each in seeds):
        groups = [np.mean(groups, axis=0)]
    bounds = []
    for scores in groups:
        n = scores.shape[-1]
        half = t.ppf((1 + LEVEL) / 2, n - 1) * scores.std(axis=-1, ddof=1) / np.sqrt(n)
        bounds.append([scores.mean(axis=-1) - half, scores.mean(axis=-1) + half])
    return np.asarray(np.mean(bounds, axis=0))


def deciding(difference: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the interval that decides whether a difference is higher or lower than zero.

    It reaches as far as either of two does: the one over videos, and Student's over seeds. So it
    leaves out zero just where both do, on the same side.

    Args:
        difference: With ``over_videos`` and ``over_seeds_t``, of which either may be None.

    Returns:
        Low and high; None where there is neither.
    """
    intervals = [difference[name] for name in DECIDING if difference[name]]
    if not intervals:
        return None
    return min(low for low, _ in intervals), max(high for _, high in intervals)
