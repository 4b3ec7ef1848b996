"""Gains over static rows of equal cost, against definitions written as loops."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from comparisons import make_cell

from focusgym.runs.comparison.cells import Cell
from focusgym.runs.comparison.gains import StaticRow, envelope, gains_of
from focusgym.runs.comparison.pairs import Resampling
from focusgym.runs.comparison.statistics import bootstrap_crossed

RESAMPLING = Resampling(seed=0, resamples=20_000)
B = 3  # videos


def test_the_line_is_the_best_mixture_of_two_points_that_a_budget_allows() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 12):
        accuracy, gmacs = rng.integers(0, 8, (2, size)) / 8  # with equals
        corners = envelope(accuracy, gmacs)
        for budget in np.linspace(gmacs.min(), 1, 30):
            allowed = [a for a, g in zip(accuracy, gmacs, strict=True) if g <= budget]
            mixed = []
            for i, j in itertools.product(range(size), repeat=2):
                if gmacs[i] <= budget < gmacs[j]:
                    part = (budget - gmacs[i]) / (gmacs[j] - gmacs[i])
                    mixed.append((1 - part) * accuracy[i] + part * accuracy[j])
            interpolated = np.interp(budget, gmacs[corners], accuracy[corners])
            assert interpolated == pytest.approx(max(allowed + mixed))


def test_seeds_and_videos_are_drawn_as_in_a_loop() -> None:
    values = np.random.default_rng(1).normal(size=(2, 3, 5))  # (…, S, B)
    resampled_means = bootstrap_crossed(values, np.random.default_rng(2), 40)
    again = np.random.default_rng(2)
    seeds, videos = again.integers(3, size=(40, 3)), again.integers(5, size=(40, 5))
    for k in range(40):
        drawn = [[values[:, s, v] for v in videos[k]] for s in seeds[k]]
        np.testing.assert_allclose(resampled_means[:, k], np.mean(drawn, axis=(0, 1)))


def cells(name: str, right: Sequence[Sequence[int]], gmacs: object, f_c: str) -> list[Cell]:
    """Return cells of two seeds that end right in some videos, at costs ``(S, B)`` or one."""
    design_cells = []
    for seed, row in enumerate(right):
        cell = make_cell(name, seed, n=B)
        spent = np.broadcast_to(np.asarray(gmacs, float), (2, B))[seed]
        correct = np.repeat(np.array(row, bool)[:, None], 3, axis=1)
        played = replace(cell.played, correct=correct, gmacs=np.repeat(spent[:, None], 3, axis=1))
        design_cells.append(replace(cell, played=played, classifier=f_c))
    return design_cells


_CELLS = {
    "cheap": cells("cheap", [[0, 0, 1], [0, 1, 0]], 1, "ours"),  # 1/3 for 1
    "dear": cells("dear", [[1, 1, 0], [1, 1, 1]], 3, "ours"),  # 5/6 for 3
    "bad": cells("bad", [[0, 0, 0], [0, 0, 0]], 2, "ours"),
    "other": cells("other", [[1, 0, 1], [1, 1, 1]], 2, "another"),  # 5/6 for 2
}
STATIC = {name: StaticRow.of(row) for name, row in _CELLS.items()}


def test_a_gain_by_hand_and_its_interval_by_all_draws() -> None:
    """Between two static rows, and seeds, videos and costs drawn in all ways.

    Both seeds gain 1/6, so that Student's interval over seeds adds nothing.
    """
    spent = np.array([[1, 2, 3], [1, 1, 2.5]])
    ours = cells("row", [[1, 1, 0], [1, 0, 1]], spent, "ours")  # 2/3 for 1.75
    over_static = gains_of(ours, STATIC, RESAMPLING)
    assert over_static["same_classifier"]["value"] == pytest.approx(
        2 / 3 - (1 / 3 + 0.375 * (1 / 2))
    )
    assert over_static["same_classifier"]["beside"] == ["cheap", "dear"]
    assert over_static["any"]["value"] == pytest.approx(2 / 3 - (1 / 3 + 0.75 * (1 / 2)))
    assert over_static["any"]["beside"] == ["cheap", "other"]
    right = np.array([cell.outcome[0] for cell in ours])
    low, high = (np.array([c.outcome[0] for c in _CELLS[name]]) for name in ("cheap", "dear"))
    gains: list[float] = []
    for seeds in itertools.product(range(2), repeat=2):
        for videos in itertools.product(range(B), repeat=B):
            which = np.ix_(seeds, videos)
            part = (spent[which].mean() - 1) / 2
            mixture = (1 - part) * low[which].mean() + part * high[which].mean()
            gains.append(right[which].mean() - mixture)
    for end, share in zip(over_static["same_classifier"]["interval"], (0.025, 0.975), strict=True):
        below, up_to = (np.mean(np.array(gains) < end + by) for by in (-1e-9, 1e-9))
        assert below - 0.01 < share < up_to + 0.01, "that share of all draws"


def test_beyond_the_ends_and_where_nothing_is_beside() -> None:
    rich = cells("rich", [[1, 1, 1], [1, 1, 1]], 9, "ours")
    poor = cells("poor", [[0, 0, 0], [0, 1, 0]], 0.5, "no such")
    over_dear = gains_of(rich, STATIC, RESAMPLING)["same_classifier"]
    assert over_dear["beside"] == ["dear"]
    # Seeds gain 1/3 and 0, so the standard error is 1/6; 12.706 is Student's t of 95 % for two.
    assert over_dear["interval"] == pytest.approx([(1 - 12.706) / 6, (1 + 12.706) / 6], abs=1e-4)
    over_static = gains_of(poor, STATIC, RESAMPLING)
    assert over_static["same_classifier"] is None
    assert over_static["any"]["beside"] == ["cheap"]
    assert over_static["any"]["value"] == pytest.approx(1 / 6 - 1 / 3)
    more = [*rich, replace(rich[0], seed=2)]
    assert gains_of(more, STATIC, RESAMPLING) == {"same_classifier": None, "any": None}
