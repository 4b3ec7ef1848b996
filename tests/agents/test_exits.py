"""Thresholds of exits against brute force and literal loops; controls; what exits come to."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from focusgym.agents import (
    SOLVERS,
    apply_exits,
    fixed_exits,
    random_exits,
    solve_exits,
)
from focusgym.agents.exits.kinds import Solver
from focusgym.agents.exits.solvers import geometric_thresholds
from focusgym.recognizer import MEASURES, NEVER, ExitRule, exit_scores, hold
from focusgym.recognizer.exit_measures import Measure


def videos(n: int, steps: int, seed: int, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits that get better with time, of easy and hard videos; labels; costs."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(0, 1, (n, steps, classes)).cumsum(axis=1)
    clues = np.exp(rng.normal(0, 1, (n, 1))) * rng.normal(0.4, 0.6, (n, steps))
    logits[np.arange(n), :, labels] += clues.cumsum(axis=1)
    costs = rng.uniform(0.5, 1.5, (n, steps)).cumsum(axis=1)
    return torch.from_numpy(logits), torch.from_numpy(labels), torch.from_numpy(costs)


def outcome(rule: ExitRule, data: tuple[Tensor, Tensor, Tensor]) -> tuple[float, float]:
    """Return accuracy and mean cost, in a loop over the videos."""
    logits, labels, costs = data
    scores = exit_scores(logits, rule.measure).tolist()
    right, spent = [], []
    for n, row in enumerate(scores):
        step = next((t for t in range(len(row) - 1) if row[t] >= rule.thresholds[t]), len(row) - 1)
        right.append(int(logits[n, step].argmax()) == int(labels[n]))
        spent.append(float(costs[n, step]))
    return float(np.mean(right)), float(np.mean(spent))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
def test_the_budget_is_met_and_the_better_solvers_are_not_worse(
    measure: Measure, share: float
) -> None:
    """On the split they are solved on: never dearer than the budget, and close to it."""
    data = videos(200, 6, seed=3)
    budget = share * float(data[2][:, -1].mean())
    outcomes = {s: outcome(solve_exits(*data, budget, measure, s), data) for s in SOLVERS}
    for accuracy, spent in outcomes.values():
        assert 0.97 * budget < spent <= budget * (1 + 1e-9)
        assert accuracy > 0.3
    assert outcomes["accurate"][0] >= max(outcomes["common"][0], outcomes["msdnet"][0])


def test_steps_after_the_own_end_of_a_video_cost_nothing() -> None:
    """Half of the videos end by themselves after three steps; every solver meets the budget."""
    logits, labels, costs = videos(200, 6, seed=3)
    ends = torch.where(torch.arange(200) % 2 == 0, 2, 5)
    data = hold(logits, ends), labels, hold(costs, ends)
    budget = 0.7 * float(data[2][:, -1].mean())
    outcomes = {s: outcome(solve_exits(*data, budget, "confidence", s), data) for s in SOLVERS}
    for _, spent in outcomes.values():
        assert 0.9 * budget < spent <= budget * (1 + 1e-9)
    assert outcomes["accurate"][0] > max(outcomes["common"][0], outcomes["msdnet"][0])


def test_the_common_threshold_is_the_dearest_affordable_one_of_all() -> None:
    data = videos(30, 4, seed=1)
    scores = exit_scores(data[0], "margin")
    candidates = [*scores.unique().tolist(), NEVER]
    costs = [outcome(ExitRule("margin", (c,) * 4), data)[1] for c in candidates]
    for share in (0.35, 0.5, 0.77, 1.0):
        budget = share * float(data[2][:, -1].mean())
        rule = solve_exits(*data, budget, "margin", "common")
        assert len(set(rule.thresholds)) == 1
        best = max(cost for cost in costs if cost <= budget * (1 + 1e-9))
        assert outcome(rule, data)[1] == pytest.approx(best, rel=1e-12)


def literal_msdnet(scores: list[list[float]], q: float) -> list[float]:
    """The published rule, with a list of the videos that are left; the last threshold is free."""
    n, steps = len(scores), len(scores[0])
    powers = [q**k for k in range(1, steps + 1)]
    left, thresholds = list(range(n)), []
    for k in range(steps - 1):
        wanted = min(int(n * powers[k] / sum(powers) + 1e-9), len(left))
        ordered = sorted(left, key=lambda i, k=k: -scores[i][k])  # type: ignore[misc]
        thresholds.append(scores[ordered[wanted - 1]][k] if wanted else NEVER)
        left = [i for i in left if scores[i][k] < thresholds[k]]
    return [*thresholds, NEVER]


@pytest.mark.parametrize("ties", [False, True])
def test_msdnets_rule_for_any_q(ties: bool) -> None:
    scores = exit_scores(videos(60, 5, seed=2)[0], "confidence").numpy()
    scores = scores.round(1) if ties else scores
    for q in (1e-9, 0.3, 0.5, 1.0, 1.7, 3.9, 1e9):
        thresholds = geometric_thresholds(scores, math.log(q)).tolist()
        assert thresholds == literal_msdnet(scores.tolist(), q)


def test_where_fewer_are_left_than_are_to_stop_all_of_them_stop() -> None:
    """After the first step all scores are equal, and all videos stop with the first of them."""
    logits = torch.zeros(8, 4, 3)
    logits[:, :, 0] = 1
    labels = torch.zeros(8, dtype=torch.int64)
    costs = torch.arange(1.0, 5).expand(8, 4)
    for solver in SOLVERS:
        for budget in (1.0, 2.5, 4.0):
            rule = solve_exits(logits, labels, costs, budget, solver=solver)
            steps = rule.exit_steps(logits)
            assert len(steps.unique()) == 1
            assert apply_exits(logits, labels, costs, steps).mean_gmacs <= budget


@given(st.integers(0, 1000), st.floats(0.3, 1.0), st.sampled_from(SOLVERS))
@settings(deadline=None, max_examples=40)
def test_thresholds_against_all_thresholds(seed: int, share: float, solver: Solver) -> None:
    """Few videos with many equal scores: no solver is above the best of all rules or the budget."""
    logits, labels, costs = videos(7, 3, seed)
    data = logits.round().clamp(-1, 1), labels, costs
    budget = share * float(costs[:, -1].mean())
    assume(budget >= float(costs[:, 0].mean()))
    accuracy, spent = outcome(solve_exits(*data, budget, "confidence", solver), data)
    assert spent <= budget * (1 + 1e-9)
    scores = exit_scores(data[0], "confidence")
    values = [[*scores[:, t].unique().tolist(), NEVER] for t in range(2)]
    every = [outcome(ExitRule("confidence", (*c, 0.0)), data) for c in product(*values)]
    best = max(right for right, cost in every if cost <= budget * (1 + 1e-9))
    assert accuracy <= best + 1e-12
    if solver == "accurate":  # it begins with what the others find
        for other in ("common", "msdnet"):
            theirs, _ = outcome(solve_exits(*data, budget, "confidence", other), data)
            assert accuracy >= theirs - 1e-12


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_ends_of_the_budget(solver: Solver) -> None:
    data = videos(50, 4, seed=0)
    costs = data[2]
    last = solve_exits(*data, float(costs[:, -1].mean()), solver=solver).exit_steps(data[0])
    first = solve_exits(*data, float(costs[:, 0].mean()), solver=solver).exit_steps(data[0])
    assert first.tolist() == [0] * 50
    if solver != "accurate":  # stopping earlier may also be more accurate
        assert last.tolist() == [3] * 50
    too_little = 0.9 * float(costs[:, 0].mean())
    with pytest.raises(ValueError, match=r"a video costs .* GMACs up to its first step, and the"):
        solve_exits(*data, too_little, solver=solver)


@pytest.mark.parametrize("solver", SOLVERS)
def test_videos_stop_only_where_they_may(solver: Solver) -> None:
    """As the rule of a system whose videos show these steps alone; the last one is always there."""
    logits, labels, costs = videos(60, 6, seed=1)
    budget = 0.7 * float(costs[:, -1].mean())
    for after, kept in (((4, 2), [1, 3, 5]), ((6, 3), [2, 5]), ((), [5]), (range(1, 7), range(6))):
        columns = list(kept)
        shown = logits[:, columns], labels, costs[:, columns]
        if float(shown[2][:, 0].mean()) > budget:
            with pytest.raises(ValueError, match=r"GMACs up to its step 6, its first exit, and"):
                solve_exits(logits, labels, costs, budget, solver=solver, after=after)
            continue
        rule = solve_exits(logits, labels, costs, budget, solver=solver, after=after)
        expected = solve_exits(*shown, budget, solver=solver)
        assert [rule.thresholds[t] for t in columns] == list(expected.thresholds)
        assert all(rule.thresholds[t] == NEVER for t in range(6) if t not in columns)
        steps = rule.exit_steps(logits)
        assert set(steps.tolist()) <= set(columns)
        assert apply_exits(logits, labels, costs, steps).mean_gmacs <= budget * (1 + 1e-9)
    for wrong in ((0, 2), (7,), (2.0,)):
        untyped: Any = wrong
        with pytest.raises(ValueError, match=r"videos of 6 steps may stop after 1 to 6 of them; g"):
            solve_exits(logits, labels, costs, budget, after=untyped)


def test_one_step_is_all_there_is() -> None:
    data = videos(5, 1, seed=0)
    for solver in SOLVERS:
        rule = solve_exits(*data, float(data[2].mean()), solver=solver)
        assert rule.exit_steps(data[0]).tolist() == [0] * 5


def test_controls_cost_the_same() -> None:
    logits, labels, _ = videos(300, 6, seed=4)
    costs = torch.arange(1.0, 7, dtype=torch.float64).expand(300, 6)
    rule = solve_exits(logits, labels, costs, 3.6)
    steps = rule.exit_steps(logits)
    ours = apply_exits(logits, labels, costs, steps)
    drawn = random_exits(steps, 0)
    assert sorted(drawn.tolist()) == sorted(steps.tolist())
    assert not torch.equal(drawn, steps)
    assert torch.equal(drawn, random_exits(steps, 0))
    assert not torch.equal(drawn, random_exits(steps, 1))
    assert apply_exits(logits, labels, costs, drawn).mean_gmacs == pytest.approx(ours.mean_gmacs)
    fixed = fixed_exits(costs, ours.mean_gmacs, 0)
    low = int(fixed.min())
    assert set(fixed.tolist()) == {low, low + 1}
    spent = apply_exits(logits, labels, costs, fixed).mean_gmacs
    assert spent == pytest.approx(ours.mean_gmacs, abs=1 / 300)
    assert ours.accuracy > apply_exits(logits, labels, costs, fixed).accuracy


def test_fixed_exits_where_videos_cost_differently() -> None:
    _, _, costs = videos(200, 5, seed=5)
    for mean in np.linspace(float(costs[:, 0].mean()), float(costs[:, -1].mean()), 13).tolist():
        exits = fixed_exits(costs, mean, 3)
        spent = float(costs[torch.arange(200), exits].mean())
        assert spent == pytest.approx(mean, abs=1.5 / 200)
    assert fixed_exits(costs, 0.0, 0).sum() <= 1
    assert fixed_exits(costs, 1e9, 0).tolist() == [4] * 200


def test_what_exits_come_to_by_hand() -> None:
    logits = torch.tensor([[[1.0, 0], [0, 1]], [[1, 0], [1, 0]]])
    costs = torch.tensor([[1.0, 3.0], [1.0, 2.0]])
    exited = apply_exits(logits, torch.tensor([1, 1]), costs, torch.tensor([1, 0]))
    assert exited.correct.tolist() == [True, False]
    assert exited.gmacs.tolist() == [3.0, 1.0]
    assert (exited.accuracy, exited.mean_gmacs) == (0.5, 2.0)
    several = torch.tensor([[False, True], [True, True]])
    assert apply_exits(logits, several, costs, torch.tensor([1, 0])).accuracy == 1.0


def test_wrong_use_is_refused() -> None:
    data = videos(5, 3, seed=0)
    steps = torch.zeros(5, dtype=torch.int64)
    wrong: Any = "best"
    with pytest.raises(ValueError, match="one of common, msdnet, accurate; got 'best'"):
        solve_exits(*data, 9.0, solver=wrong)
    with pytest.raises(ValueError, match=r"logits \(N, T, C\) and costs \(N, T\) of the same"):
        solve_exits(data[0], data[1], data[2][:, :2], 9.0)
    with pytest.raises(ValueError, match="expected finite logits; got NaN or infinity"):
        solve_exits(data[0] * float("nan"), *data[1:], 9.0)
    for costs in (-data[2], data[2] * float("nan")):
        with pytest.raises(ValueError, match="expected finite costs of at least 0; got others"):
            solve_exits(*data[:2], costs, 9.0)
    for exits in (steps[:4], steps + 3, steps - 1):
        with pytest.raises(ValueError, match=r"expected exits \(5,\) in \[0, 3\), a step for each"):
            apply_exits(*data, exits)
