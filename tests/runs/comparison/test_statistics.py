"""Resampling against loops, SciPy, known values, and invariants."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from focusgym.runs.comparison import statistics
from focusgym.runs.comparison.statistics import (
    COVERAGE,
    EQUAL_APART,
    bootstrap_seeds,
    bootstrap_videos,
    interquartile_mean,
    interval,
    mean_over_groups,
    mean_probability,
    pooled_interquartile_mean,
    probability_of_improvement,
    t_interval,
)

# SciPy calls it `rng` from 1.15 on.
SEED = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"
SCORES = arrays(np.float64, st.integers(2, 12), elements=st.integers(0, 8).map(lambda k: k / 8))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 4.5),
        ([100, 2, 3, -50], 2.5),
        ([1, 2, 6], 3),  # of fewer than four it is the mean
        ([0, 1, 2, 3, 40], 2),
    ],
)
def test_interquartile_mean_of_known_values(scores: list[float], expected: float) -> None:
    assert interquartile_mean(np.array(scores, float)) == pytest.approx(expected)


@given(SCORES)
def test_interquartile_mean_is_that_of_a_loop(scores: np.ndarray) -> None:
    cut = len(scores) // 4
    middle = sorted(scores)[cut : len(scores) - cut]
    assert interquartile_mean(scores) == pytest.approx(sum(middle) / len(middle))


@given(SCORES, SCORES)
def test_probability_of_improvement_is_that_of_a_loop_and_of_mann_whitney(
    ours: np.ndarray, theirs: np.ndarray
) -> None:
    wins = sum((x > y) + 0.5 * (x == y) for x, y in itertools.product(ours, theirs))
    probability = probability_of_improvement(ours, theirs)
    assert probability == pytest.approx(wins / (len(ours) * len(theirs)))
    u = stats.mannwhitneyu(ours, theirs, method="asymptotic").statistic
    assert probability == pytest.approx(u / (len(ours) * len(theirs)))
    assert probability + probability_of_improvement(theirs, ours) == pytest.approx(1)
    assert probability_of_improvement(ours, ours) == 0.5


def test_probability_of_improvement_of_known_values() -> None:
    ours, theirs = np.array([0.9, 0.5]), np.array([0.1, 0.5, 0.7])
    assert probability_of_improvement(ours, theirs) == pytest.approx((3 + 1.5) / 6)
    assert mean_probability([ours, theirs, ours, ours - 1]) == pytest.approx((0.75 + 1) / 2)


def test_seeds_are_drawn_in_each_group_as_in_a_loop() -> None:
    groups = [rng(1).normal(size=(2, 4)), rng(2).normal(size=(2, 3))]
    resampled_means = bootstrap_seeds(mean_over_groups, groups, rng(), 50)
    middles = bootstrap_seeds(pooled_interquartile_mean, groups, rng(), 50)
    wins = bootstrap_seeds(mean_probability, groups, rng(), 50)
    again = rng()
    draws = [again.integers(size, size=(50, size)) for size in (4, 3)]
    assert resampled_means.shape == middles.shape == wins.shape == (2, 50)
    for measure, r in itertools.product(range(2), range(50)):
        drawn = [[g[measure, i] for i in d[r]] for g, d in zip(groups, draws, strict=True)]
        means = [sum(values) / len(values) for values in drawn]
        assert resampled_means[measure, r] == pytest.approx(sum(means) / 2)
        pooled = sorted(drawn[0] + drawn[1])
        assert middles[measure, r] == pytest.approx(np.mean(pooled[1:-1]))
        pairs = list(itertools.product(*drawn))
        assert wins[measure, r] == pytest.approx(
            sum((x > y) + 0.5 * (x == y) for x, y in pairs) / 12
        )


def test_videos_are_drawn_in_each_set_as_in_a_loop() -> None:
    sets = [rng(1).normal(size=(2, 7)), rng(2).normal(size=(2, 5))]
    resampled_means = bootstrap_videos(sets, [2 / 3, 1 / 3], rng(), 30)
    again = rng()
    draws = [again.integers(size, size=(30, size)) for size in (7, 5)]
    for measure, r in itertools.product(range(2), range(30)):
        first, second = (
            np.mean([values[measure, i] for i in drawn[r]])
            for values, drawn in zip(sets, draws, strict=True)
        )
        assert resampled_means[measure, r] == pytest.approx(2 / 3 * first + 1 / 3 * second)


def test_videos_drawn_in_parts_have_the_error_of_a_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_DRAWS", 1000)  # ten resamples at a time
    values = rng().normal(size=100)
    resampled_means = bootstrap_videos([values], [1.0], rng(), 4005)
    assert resampled_means.shape == (4005,)
    assert resampled_means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert resampled_means.std() == pytest.approx(values.std() / 10, rel=0.05)


@pytest.mark.parametrize("n", [8, 200])
def test_intervals_are_scipys(n: int) -> None:
    ours, theirs = rng(1).normal(0.3, 1, n), rng(2).normal(0, 1, n)
    theirs += ours  # so that pairing matters
    low, high = stats.bootstrap(
        (ours - theirs,), np.mean, n_resamples=20_000, method="percentile", **{SEED: rng(3)}
    ).confidence_interval
    tolerance = 0.06 * (high - low)
    over_seeds = interval(bootstrap_seeds(mean_over_groups, [ours - theirs], rng(), 20_000))
    over_videos = interval(bootstrap_videos([ours - theirs], [1.0], rng(), 20_000))
    np.testing.assert_allclose(over_seeds, [low, high], atol=tolerance)
    np.testing.assert_allclose(over_videos, [low, high], atol=tolerance)


@given(SCORES, SCORES)
@settings(max_examples=50, deadline=None)
def test_the_interval_of_a_probability_is_scipys(ours: np.ndarray, theirs: np.ndarray) -> None:
    def chance(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        assert axis == -1
        return probability_of_improvement(x, y)

    resampled_probabilities = bootstrap_seeds(mean_probability, [ours, theirs], rng(), 3000)
    with np.errstate(all="ignore"):
        expected = stats.bootstrap(
            (ours, theirs), chance, n_resamples=3000, method="percentile", **{SEED: rng(1)}
        ).bootstrap_distribution
    assert resampled_probabilities.mean() == pytest.approx(expected.mean(), abs=0.04)
    assert resampled_probabilities.std() == pytest.approx(expected.std(), abs=0.04)


@given(SCORES)
@settings(max_examples=50, deadline=None)
def test_a_design_with_itself_shows_no_difference(scores: np.ndarray) -> None:
    nothing = scores - scores
    for resampled_differences in (
        bootstrap_seeds(mean_over_groups, [nothing], rng(), 200),
        bootstrap_videos([nothing], [1.0], rng(), 200),
    ):
        assert interval(resampled_differences).tolist() == [0, 0]


@given(SCORES, st.integers(-8, 8), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_intervals_hold_the_mean_turn_and_shift_with_the_scores(
    scores: np.ndarray, shift: int, seed: int
) -> None:
    def seeds(values: np.ndarray) -> np.ndarray:
        return interval(bootstrap_seeds(mean_over_groups, [values], rng(seed), 2000))

    def videos(values: np.ndarray) -> np.ndarray:
        return interval(bootstrap_videos([values], [1.0], rng(seed), 2000))

    for bounds in (seeds, videos):
        low, high = bounds(scores)
        assert low - 1e-12 <= scores.mean() <= high + 1e-12
        np.testing.assert_allclose(bounds(-scores), [-high, -low], atol=1e-12)
        np.testing.assert_allclose(bounds(scores + shift), [low + shift, high + shift], atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
def test_of_two_or_three_seeds_the_interval_is_their_range(n: int) -> None:
    """The smallest score alone is drawn with probability n^-n: 25 %, or 3.7 %; both above 2.5 %."""
    scores = np.array([0.2, 0.9, 0.5])[:n]
    bounds = interval(bootstrap_seeds(mean_over_groups, [scores], rng(), 5000))
    np.testing.assert_allclose(bounds, [scores.min(), scores.max()])


@pytest.mark.parametrize(("n", "percent"), [*COVERAGE.items(), (60, 94.2)])
def test_intervals_hold_the_truth_as_often_as_is_said(n: int, percent: float) -> None:
    """3,000 sets of n normal scores, each with resamples of its own set."""
    held = []
    for part in range(30):
        scores = rng(part).normal(size=(100, n))
        low, high = interval(bootstrap_seeds(mean_over_groups, [scores], rng(part + 50), 1000))
        held += ((low <= 0) & (high >= 0)).tolist()
    assert 100 * np.mean(held) == pytest.approx(percent, abs=2.5)


def test_the_t_interval_is_scipys() -> None:
    """Of one group, and of two with the same seeds: then of the seeds' means over the groups."""
    x, y = rng(1).normal(size=(2, 5)), rng(2).normal(size=(2, 5))
    for groups, scores in (([x], x), ([x, y], (x + y) / 2)):
        bounds = t_interval(groups, [range(5)] * len(groups))
        expected = stats.ttest_1samp(scores, 0, axis=-1).confidence_interval(0.95)
        np.testing.assert_allclose(bounds, [expected.low, expected.high])


def test_the_t_interval_of_groups_with_other_seeds_is_the_mean_of_theirs() -> None:
    x, y = rng(1).normal(size=5), rng(2).normal(size=3)
    bounds = t_interval([x, y], [range(5), range(3)])
    ends = [stats.ttest_1samp(each, 0).confidence_interval(0.95) for each in (x, y)]
    np.testing.assert_allclose(bounds, np.mean(ends, axis=0))
    # The same number of seeds is not the same seeds.
    apart = t_interval([x, -x], [range(5), range(5, 10)])
    assert apart[1] - apart[0] > 1
    np.testing.assert_allclose(t_interval([x, -x], [range(5), range(5)]), 0, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_t_interval_of_few_seeds_holds_the_truth_in_95_percent(n: int) -> None:
    low, high = t_interval([rng(n).normal(size=(20_000, n))], [range(n)])
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("moving", [0, 0.5, 1])
def test_groups_with_other_seeds_are_held_however_they_move_together(moving: float) -> None:
    draws = rng()
    together, alone = draws.normal(size=(20_000, 5)), draws.normal(size=(20_000, 2, 5))
    scores = np.sqrt(moving) * together[:, None] + np.sqrt(1 - moving) * alone
    for seeds in ([[0, 1], [0, 1, 2, 3, 4]], [[0, 1, 2], [1, 2, 3]]):
        low, high = t_interval([scores[:, i, each] for i, each in enumerate(seeds)], seeds)
        assert np.mean((low <= 0) & (high >= 0)) > 0.95


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize(("sd", "column"), [(0, 0), (0.01, 1), (0.03, 2)])
def test_equal_designs_seem_apart_as_often_as_is_said(n: int, sd: float, column: int) -> None:
    """2,500 pairs of designs with n seeds, each right in about 70 % of 1,000 videos."""
    draws = rng(100 + n)
    apart = []
    for _ in range(10):
        accuracy = 0.7 + sd * draws.normal(size=(250, 2, n, 1))
        differences = np.zeros((250, n, 1000), np.float32)
        for s in range(n):
            ours, theirs = draws.random((2, 250, 1000)) < accuracy[:, :, s].swapaxes(0, 1)
            differences[:, s] = ours.astype(np.float32) - theirs
        bounds = [interval(bootstrap_videos([differences.mean(axis=1)], [1.0], draws, 500))]
        if n > 1:
            bounds.append(t_interval([differences.mean(axis=2)], [range(n)]))
        higher = np.all([low > 0 for low, _ in bounds], axis=0)
        apart += (higher | np.all([high < 0 for _, high in bounds], axis=0)).tolist()
    assert 100 * np.mean(apart) == pytest.approx(EQUAL_APART[n][column], abs=4 if n == 1 else 2)
