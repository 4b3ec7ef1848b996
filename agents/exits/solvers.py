"""Solving the thresholds of exits for a budget, on a split that is not reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import NEVER, ExitRule, exit_scores, exit_steps
from ...recognizer.exit_measures import Measure
from .kinds import SOLVERS, Solver
from .outcome import check_costs, right

Floats = NDArray[np.float64]
_HALVINGS = 25
_SWEEPS = 20


def solve_exits(
    logits: Tensor,
    labels: Tensor,
    costs: Tensor,
    budget_gmacs: float,
    measure: Measure = "confidence",
    solver: Solver = "common",
    after: Sequence[int] | None = None,
) -> ExitRule:
    """Solve when videos stop so that they cost at most a budget on average.

    Args:
        logits: ``(N, T, C)`` after every step, on a split that is not reported.
        labels: ``(N,)`` int64; or ``(N, C)`` bool, where videos have several.
        costs: ``(N, T)`` float64: GMACs spent on each video up to and including each step.
        budget_gmacs: Largest mean cost of a video on this split.
        measure: What is compared with the thresholds.
        solver: ``common``, one threshold for all steps; ``msdnet``, the published rule, see
            `msdnet_thresholds`; or ``accurate``, see `accurate_thresholds`.
        after: Numbers of steps in ``[1, T]`` after which videos may stop; None: after each. A
            recognizer reads the frames in between together, which takes less time for the same
            multiply-adds.

    Raises:
        ValueError: If a shape is not as above, there is no such number of steps, or the budget does
            not pay for the first step after which a video may stop.

    Source: AdaFocusV3 (arXiv:2209.13465) Eq. 7: the highest accuracy on the validation set whose
        mean cost is at most the budget.
    """
    check_costs(logits, costs)
    if solver not in SOLVERS:
        raise ValueError(f"the solver must be one of {', '.join(SOLVERS)}; got {solver!r:.80}")
    exits = _possible(after, logits.shape[1])
    scores = exit_scores(logits, measure).cpu().numpy()[:, exits]  # (N, exits)
    spent = costs.double().cpu().numpy()[:, exits]
    least = float(spent[:, 0].mean())
    if not budget_gmacs >= least * (1 - 1e-9):
        first = "first step" if exits[0] == 0 else f"step {exits[0] + 1}, its first exit"
        raise ValueError(
            f"a video costs {least:.4g} GMACs up to its {first}, and the budget is "
            f"{budget_gmacs:.4g}: give a larger one"
        )
    budget_gmacs *= 1 + 1e-9  # the full cost, computed in another order, is within itself
    if solver == "common":
        thresholds = common_thresholds(scores, spent, budget_gmacs)
    elif solver == "msdnet":
        thresholds = msdnet_thresholds(scores, spent, budget_gmacs)
    else:
        correct = right(logits, labels).cpu().numpy()[:, exits]
        thresholds = accurate_thresholds(scores, correct, spent, budget_gmacs)
    every = np.full(logits.shape[1], NEVER)
    every[exits] = thresholds
    return ExitRule(measure, tuple(every.tolist()))


def _possible(after: Sequence[int] | None, steps: int) -> list[int]:
    """Return the indices of the steps after which videos may stop, the last one included."""
    if after is None:
        return list(range(steps))
    if not all(type(n) is int and 1 <= n <= steps for n in after):
        raise ValueError(
            f"videos of {steps} steps may stop after 1 to {steps} of them; got {list(after)}"
        )
    return sorted({*(n - 1 for n in after), steps - 1})


def msdnet_thresholds(scores: Floats, costs: Floats, budget_gmacs: float) -> Floats:
    """Return thresholds under which the shares of videos that stop are a geometric sequence.

    The share that stops after step k is p_k ∝ q^k: of the videos that go on, the ⌊N·p_k⌋ surest
    stop, and the threshold is the score of the last of them. q is bisected, so that the mean cost
    comes near to the budget from below.

    Args:
        scores: ``(N, T)``, larger is surer.
        costs: ``(N, T)`` GMACs so far.
        budget_gmacs: Largest mean cost.

    Returns:
        ``(T,)``.

    Source: MSDNet (arXiv:1703.09844) section 5, as AdaFocusV2 and V3 use it. There q is a grid of
        values and the budget is what it comes to; here the budget is given. Where fewer videos are
        left than are to stop, all of them stop.
    """

    def of(log_q: float) -> Floats:
        return geometric_thresholds(scores, log_q)

    return _dearest(of, -40.0, 40.0, scores, costs, budget_gmacs)


def geometric_thresholds(scores: Floats, log_q: float) -> Floats:
    """Return the thresholds ``(T,)`` of a q, told by its logarithm; see `msdnet_thresholds`."""
    n_videos, steps = scores.shape
    powers = log_q * np.arange(1, steps + 1)
    shares = np.exp(powers - powers.max())
    # What a rounding holds below a whole number is counted as it.
    wanted = np.floor(n_videos * shares / shares.sum() + 1e-9).astype(int)
    thresholds, left = np.full(steps, NEVER), np.ones(n_videos, dtype=bool)
    for step in range(steps - 1):
        ordered = np.sort(scores[left, step])[::-1]
        if n_stop := min(wanted[step], len(ordered)):
            thresholds[step] = ordered[n_stop - 1]
            left &= scores[:, step] < thresholds[step]  # of equal scores all stop
    return thresholds


def common_thresholds(scores: Floats, costs: Floats, budget_gmacs: float) -> Floats:
    """Return one threshold for all steps, as high as the budget pays for.

    A single number is solved, which does not follow the chances of a small split; and a video
    stops as soon as it is as sure as others were, whichever step that is. See `msdnet_thresholds`
    for the arguments.
    """
    values = np.unique(np.append(scores[:, :-1], NEVER))

    def of(index: float) -> Floats:
        return np.full(scores.shape[1], values[int(index)])

    return _dearest(of, 0.0, len(values) - 0.5, scores, costs, budget_gmacs)


def accurate_thresholds(
    scores: Floats, correct: NDArray[np.bool_], costs: Floats, budget_gmacs: float
) -> Floats:
    """Return a threshold per step, for the highest accuracy within the budget that is found.

    With a price per GMAC, the gain of a threshold while the others are held is computed for all
    its values at once; thresholds are improved in turn, from the last step to the first, until
    none changes. The price is bisected for the budget. What the cheaper of the last two rules
    leaves of it is spent on the way to the dearer one. The common threshold or MSDNet's are taken
    where they are more accurate, so that on the split it is solved on this is never worse. With T
    numbers it also follows the chances of that split: it is for splits of thousands of videos.

    Args:
        scores: ``(N, T)``, larger is surer.
        correct: ``(N, T)``, whether the prediction after the step is right.
        costs: ``(N, T)`` GMACs so far.
        budget_gmacs: Largest mean cost.

    Returns:
        ``(T,)``.

    Source: AdaFocusV3 (arXiv:2209.13465) Eq. 7, by Lagrangian relaxation and coordinate ascent,
        where the paper takes MSDNet's shares.
    """
    rules = [solve(scores, costs, budget_gmacs) for solve in (common_thresholds, msdnet_thresholds)]
    cheaper, dearer = np.full(scores.shape[1], scores.min()), np.full(scores.shape[1], NEVER)
    # At the highest price even a video that turns right does not pay for its cheapest step. Those
    # after a video's own end cost nothing, and change nothing.
    steps = np.diff(costs, axis=1, append=np.inf)
    low, high = 0.0, 1 / max(float(steps[steps > 0].min()), 1e-12)
    for _ in range(_HALVINGS):
        price = (low + high) / 2
        rule = _ascend(scores, correct - price * costs, rules[0])
        if _mean(costs, scores, rule) > budget_gmacs:
            low, dearer = price, rule
        else:
            high, cheaper = price, rule
    apart = dearer - cheaper
    rules.append(
        _dearest(lambda part: cheaper + part * apart, 0.0, 1.0, scores, costs, budget_gmacs)
    )
    return max(rules, key=lambda rule: _mean(correct, scores, rule))


def _ascend(scores: Floats, payoffs: Floats, start: Floats) -> Floats:
    """Return thresholds that no change of a single one improves (within the sweeps allowed).

    Args:
        scores: ``(N, T)``.
        payoffs: ``(N, T)``: what a video is worth that stops after the step.
        start: ``(T,)``.
    """
    thresholds, rows = start.copy(), np.arange(len(scores))
    for _ in range(_SWEEPS):
        before = thresholds.copy()
        for step in reversed(range(scores.shape[1] - 1)):
            reaches = (scores[:, :step] < thresholds[:step]).all(axis=1)
            later = step + 1 + _stops(scores[:, step + 1 :], thresholds[step + 1 :])
            gains = payoffs[:, step] - payoffs[rows, later]
            thresholds[step] = _best_threshold(scores[reaches, step], gains[reaches])
        if np.array_equal(thresholds, before):
            break
    return thresholds


def _best_threshold(scores: Floats, gains: Floats) -> float:
    """Return the threshold at and above which gains ``(M,)`` sum to most; the highest of equals."""
    order = np.argsort(-scores, kind="stable")
    ordered, sums = scores[order], np.append(0.0, np.cumsum(gains[order]))
    parted = np.append(True, np.diff(ordered, append=-np.inf) < 0)  # equal scores stop together
    n_stop = int(np.where(parted, sums, -np.inf).argmax())
    if n_stop == 0:
        return NEVER
    last = ordered[n_stop - 1]
    if n_stop == len(ordered):
        return float(last)
    # Half-way to the next: videos that were not seen are parted there. It may round to the next.
    half_way = (last + ordered[n_stop]) / 2
    return float(half_way if half_way > ordered[n_stop] else last)


def _dearest(
    of: Callable[[float], Floats],
    low: float,
    high: float,
    scores: Floats,
    costs: Floats,
    budget_gmacs: float,
) -> Floats:
    """Return the thresholds ``of(x)`` of the largest x whose mean cost is in the budget.

    The cost of ``of(low)`` has to be; x is bisected, as if the cost never fell with it.
    """
    if _mean(costs, scores, of(high)) <= budget_gmacs:
        return of(high)
    for _ in range(2 * _HALVINGS):
        middle = (low + high) / 2
        affordable = _mean(costs, scores, of(middle)) <= budget_gmacs
        low, high = (middle, high) if affordable else (low, middle)
    return of(low)


def _mean(values: NDArray[Any], scores: Floats, thresholds: Floats) -> float:
    """Return the mean over the videos of values ``(N, T)`` at their exits."""
    return float(values[np.arange(len(values)), _stops(scores, thresholds)].mean())


def _stops(scores: Floats, thresholds: Floats) -> NDArray[np.int64]:
    return exit_steps(torch.from_numpy(scores), thresholds.tolist()).numpy()
