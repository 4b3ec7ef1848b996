"""Metrics against scikit-learn, literal loops and cases by hand."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, top_k_accuracy_score
from torch import Tensor

from focusgym.recognizer.accounting.metrics import (
    Metrics,
    accuracy_by_step,
    average_precisions,
    mean_average_precision,
    measure,
    top_k_by_step,
)

N, T, C = 4, 2, 3
LABELS = torch.tensor([0, 0, 2, 2])


@dataclasses.dataclass(frozen=True)
class Case:
    """Predictions with labels both as ids, where there is one per video, and as (N, C) bool."""

    logits: Tensor
    labels: Tensor
    hot: Tensor


@st.composite
def cases(draw: st.DrawFn, tied: bool, every_class: bool = False) -> Case:
    """Draw a case of 1 to 12 videos, 1 to 3 steps, 1 to 7 classes, one or several labels each."""
    n_classes = draw(st.integers(1, 7))
    n_videos = draw(st.integers(n_classes if every_class else 1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (n_videos, draw(st.integers(1, 3)), n_classes)
    logits = rng.integers(-1, 2, size) if tied else 2 * rng.standard_normal(size)
    ids = rng.integers(n_classes, size=n_videos)
    if every_class:
        ids[:n_classes] = np.arange(n_classes)
    hot = torch.from_numpy(ids)[:, None] == torch.arange(n_classes)
    labels = torch.from_numpy(ids)
    if draw(st.booleans()):
        labels = hot = hot | torch.from_numpy(rng.random((n_videos, n_classes)) < 0.2)
    return Case(torch.from_numpy(logits).float(), labels, hot)


def literal_top_k(case: Case, k: int) -> list[float]:
    """Sort the classes of every prediction, the first of equals first, and look for a label."""
    right = np.zeros(case.logits.shape[:2])
    for n, t in np.ndindex(*right.shape):
        ranking = np.argsort(-case.logits[n, t].numpy(), kind="stable")
        right[n, t] = any(case.hot[n, c] for c in ranking[:k])
    return right.mean(axis=0).tolist()


def literal_official(logits: Tensor, hot: Tensor) -> float:
    """Return `official` as facts A12 say it: softmax, consecutive ids, ranks, all columns."""
    probabilities = logits.softmax(dim=1)
    occurring = sorted({int(c) for row in hot for c in row.nonzero()})
    ids = {c: new for new, c in enumerate(occurring)}
    of_video = [{ids[int(c)] for c in row.nonzero()} for row in hot]
    total = 0.0
    for column in range(logits.shape[1]):
        scores = probabilities[:, column].tolist()
        hits, precisions = 0, 0.0
        for rank, video in enumerate(sorted(range(len(scores)), key=lambda n: -scores[n]), 1):
            if column in of_video[video]:
                hits += 1
                precisions += hits / rank
        total += precisions / max(hits, 1)
    return total / logits.shape[1]


def no_ties(scores: NDArray[np.floating]) -> bool:
    """Return whether no two videos (rows) have the same score in a column."""
    return all(len(set(column)) == len(column) for column in scores.T.tolist())


@settings(deadline=None)
@given(cases(tied=True), st.integers(1, 9))
def test_top_k_is_a_search_in_the_sorted_classes(case: Case, k: int) -> None:
    assert top_k_by_step(case.logits, case.labels, k) == pytest.approx(literal_top_k(case, k))
    top1 = literal_top_k(case, 1)
    assert accuracy_by_step(case.logits, case.labels) == pytest.approx(top1)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_that_of_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    logits, labels = rng.standard_normal((200, 3, 9)), rng.integers(9, size=200)
    expected = [
        top_k_accuracy_score(labels, logits[:, t], k=k, labels=np.arange(9)) for t in range(3)
    ]
    ours = top_k_by_step(torch.from_numpy(logits), torch.from_numpy(labels), k)
    assert ours == pytest.approx(expected)
    assert ours[0] == pytest.approx(k / 9, abs=0.1)


def test_top_k_by_hand() -> None:
    logits = torch.tensor([[[3.0, 2, 1], [1, 2, 3]], [[1, 1, 1], [2, 1, 2]]])
    labels = torch.tensor([1, 2])
    assert top_k_by_step(logits, labels, 1) == [0.0, 0.0]
    assert top_k_by_step(logits, labels, 2) == [0.5, 1.0]
    assert top_k_by_step(logits, labels, 3) == top_k_by_step(logits, labels, 99) == [1.0, 1.0]
    # One of several labels is enough.
    several = torch.tensor([[False, True, True], [True, False, True]])
    assert top_k_by_step(logits, several, 1) == [0.5, 1.0]


@settings(deadline=None)
@given(cases(tied=True), st.booleans())
def test_average_precisions_are_those_of_scikit_learn(case: Case, double: bool) -> None:
    scores = case.logits[:, -1].double() if double else case.logits[:, -1]
    aps = average_precisions(scores, case.labels)
    assert aps.dtype == torch.float64
    for c, ap in enumerate(aps.tolist()):
        truth = case.hot[:, c].numpy()
        if truth.any():
            assert ap == pytest.approx(average_precision_score(truth, scores[:, c].numpy()))
        else:
            assert math.isnan(ap)


def test_average_precision_by_hand() -> None:
    labels = torch.tensor([1, 0, 1, 0])
    scores = torch.tensor([[4.0, 1, 0], [3, 1, 0], [2, 1, 0], [1, 1, 0]])
    # Class 0 at ranks 2 and 4; class 1 in one tie of all four; class 2 nowhere.
    first, tied, absent = average_precisions(scores, labels).tolist()
    assert first == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert tied == pytest.approx(2 / 4)
    assert math.isnan(absent)


@settings(deadline=None)
@given(cases(tied=False))
def test_strict_is_scikit_learns_mean_over_the_classes_that_occur(case: Case) -> None:
    for logits in case.logits.unbind(dim=1):
        exponentials = np.exp(logits.double().numpy())
        softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
        expected = np.mean(
            [
                average_precision_score(case.hot[:, c].numpy(), softmax[:, c])
                for c in range(case.hot.shape[1])
                if case.hot[:, c].any()
            ]
        )
        assume(case.hot.shape[1] == 1 or no_ties(softmax))  # of one class every softmax is 1
        ours = mean_average_precision(logits, case.labels)
        assert ours == mean_average_precision(logits, case.labels, mode="strict")
        assert ours == pytest.approx(expected)


@settings(deadline=None)
@given(st.one_of(cases(tied=False), cases(tied=True), cases(tied=False, every_class=True)))
def test_official_is_the_released_computation_taken_literally(case: Case) -> None:
    for logits in case.logits.unbind(dim=1):
        expected = literal_official(logits, case.hot)
        assert mean_average_precision(logits, case.labels, "official") == pytest.approx(expected)


@settings(deadline=None)
@given(cases(tied=False, every_class=True))
def test_both_modes_are_equal_with_every_class_and_no_ties(case: Case) -> None:
    for logits in case.logits.unbind(dim=1):
        assume(no_ties(logits.softmax(dim=1).numpy()))
        strict = mean_average_precision(logits, case.labels)
        assert mean_average_precision(logits, case.labels, "official") == pytest.approx(strict)


def test_official_gives_a_perfect_predictor_47_percent_where_a_class_is_absent() -> None:
    # Class 2 becomes id 1, and in column 1 its videos come last: (1/3 + 2/4) / 2; column 2 is 0.
    p = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.05, 0.05, 0.9], [0.1, 0.1, 0.8]])
    assert mean_average_precision(p.log(), LABELS) == 1.0
    assert average_precisions(p, LABELS).tolist()[::2] == [1.0, 1.0]
    official = mean_average_precision(p.log(), LABELS, "official")
    assert official == pytest.approx((1 + (1 / 3 + 2 / 4) / 2 + 0) / 3)
    assert 100 * official == pytest.approx(47.2, abs=0.05)


def test_official_of_an_averaging_classifier_is_that_of_its_probabilities() -> None:
    """The released code ranks them by their softmax, which puts the second video first."""
    p = torch.tensor([[0.499, 0.499, 0.002], [0.48, 0.26, 0.26], [0.1, 0.1, 0.8]])
    again = p.exp() / p.exp().sum(dim=1, keepdim=True)
    assert again[1, 0] > again[0, 0]
    labels = torch.arange(3)
    for mode in ("strict", "official"):
        assert mean_average_precision(p.log(), labels, mode) == pytest.approx((1 + 1 / 2 + 1) / 3)
    released = mean_average_precision(p.log().softmax(-1), labels, "official")
    assert released == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


def test_ties_in_official_are_ranked_in_the_order_of_the_videos() -> None:
    labels = torch.tensor([1, 0, 1, 0])
    tied = torch.zeros(4, 2)
    official = (((1 / 2 + 2 / 4) / 2) + (1 / 1 + 2 / 3) / 2) / 2
    assert mean_average_precision(tied, labels, "official") == pytest.approx(official)
    assert mean_average_precision(tied, labels, "strict") == pytest.approx(0.5)
    # Also among many, where a sort that is not stable would mix them.
    many = torch.arange(3000) % 2
    expected = literal_official(torch.zeros(3000, 2), many[:, None] == torch.arange(2))
    ours = mean_average_precision(torch.zeros(3000, 2), many, "official")
    assert ours == pytest.approx(expected)


def test_strict_tells_apart_what_a_rounded_softmax_does_not() -> None:
    # In float32 class 1 has probability 0 in every video, and yet the right video leads.
    logits = torch.tensor([[200.0, 0], [200, 20], [200, 10], [200, 5]])
    labels = torch.tensor([0, 1, 0, 0])
    assert logits.softmax(dim=1)[:, 1].tolist() == [0] * 4
    assert average_precisions(logits.double().log_softmax(dim=1), labels)[1] == 1.0
    assert mean_average_precision(logits, labels) > mean_average_precision(
        logits, labels, "official"
    )


def test_videos_are_ranked_by_softmax_not_by_logits() -> None:
    # Video 1 has the higher logit of class 0, and the lower probability.
    logits = torch.tensor([[1.0, -5], [5, 9]])
    assert mean_average_precision(logits, torch.tensor([0, 1])) == 1.0
    assert mean_average_precision(logits, torch.tensor([0, 1]), "official") == 1.0
    assert average_precisions(logits, torch.tensor([0, 1])).tolist() == [0.5, 1.0]


@pytest.mark.parametrize("mode", ["strict", "official"])
@settings(deadline=None, max_examples=20)
@given(case=cases(tied=False))
def test_measure_has_every_metric_after_every_step(mode: str, case: Case) -> None:
    n_videos, steps, _ = case.logits.shape
    gmacs = torch.rand(n_videos, steps, generator=torch.Generator().manual_seed(steps)).cumsum(1)
    metrics = measure(case.logits, case.labels, gmacs, mode)
    assert metrics.mode == mode
    assert metrics.top1 == pytest.approx(literal_top_k(case, 1))
    assert metrics.top5 == pytest.approx(literal_top_k(case, 5))
    assert metrics.mean_average_precision == [
        mean_average_precision(case.logits[:, t], case.labels, mode) for t in range(steps)
    ]
    assert metrics.gmacs == pytest.approx(gmacs.numpy().mean(axis=0))
    assert metrics.gmacs is not None
    assert metrics.final == {
        "top1": metrics.top1[-1],
        "top5": metrics.top5[-1],
        "mean_average_precision": metrics.mean_average_precision[-1],
        "gmacs": metrics.gmacs[-1],
    }
    assert Metrics(**json.loads(json.dumps(dataclasses.asdict(metrics)))) == metrics


def test_measure_by_hand() -> None:
    # Step 1 is right about all; step 0 has both videos of class 2 wrong, one of them closely.
    right = torch.tensor([[5.0, 0, 0], [5, 1, 0], [0, 0, 5], [0, 0, 6]])
    wrong = torch.tensor([[5.0, 0, 0], [5, 1, 0], [5, 0, 4], [9, 0, 0]])
    gmacs = torch.tensor([[1.0, 3], [1, 3], [1, 1], [2, 2]])
    metrics = measure(torch.stack([wrong, right], dim=1), LABELS, gmacs)
    # At step 0 the ranks of class 0 are video 3 (0.9998), 0 (0.987), 1 (0.976), 2 (0.728); those
    # of class 2 are video 2, then 0, 1, 3.
    class_0, class_2 = (1 / 2 + 2 / 3) / 2, (1 / 1 + 2 / 4) / 2
    assert metrics == Metrics(
        mode="strict",
        top1=[0.5, 1.0],
        top5=[1.0, 1.0],
        mean_average_precision=[pytest.approx((class_0 + class_2) / 2), 1.0],
        gmacs=[1.25, 2.25],
    )
    without = measure(torch.stack([wrong, right], dim=1), LABELS)
    assert without == dataclasses.replace(metrics, gmacs=None)
    assert without.final == {"top1": 1.0, "top5": 1.0, "mean_average_precision": 1.0}
    with pytest.raises(dataclasses.FrozenInstanceError):
        without.mode = "official"  # type: ignore[misc]


def test_one_true_id_per_video_and_a_true_column_are_the_same_labels() -> None:
    logits = torch.randn(12, T, C, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % C
    for mode in ("strict", "official"):
        same = measure(logits, labels[:, None] == torch.arange(C), mode=mode)
        assert measure(logits.clone().requires_grad_(), labels, mode=mode) == same


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(N, C), LABELS, r"logits \(N, T, C\), .* got torch.float32 \(4, 3\): give"),
        (torch.zeros(0, T, C), LABELS[:0], r"no size 0; got torch.float32 \(0, 2, 3\): give those"),
        (torch.zeros(N, 0, C), LABELS, r"no size 0; got torch.float32 \(4, 0, 3\)"),
        (torch.zeros(N, T, C).long(), LABELS, r"floating-point .* got torch.int64 \(4, 2, 3\)"),
        (
            torch.zeros(N, T, C),
            LABELS[:3],
            r"labels \(N,\) = \(4,\) .* got torch.int64 \(3,\): con",
        ),
        (torch.zeros(N, T, C), LABELS.int(), r"int64 or \(N, C\) = \(4, 3\) bool; got torch.int32"),
        (torch.zeros(N, T, C), LABELS.bool(), r"bool; got torch.bool \(4,\)"),
        (torch.zeros(N, T, C), torch.ones(N, 2).bool(), r"bool; got torch.bool \(4, 2\)"),
        (torch.zeros(N, T, C), torch.ones(N, C).long(), r"bool; got torch.int64 \(4, 3\)"),
        (torch.zeros(N, T, C), LABELS + 1, r"in \[0, 3\), .* got 3 for video 2: check the class l"),
        (torch.zeros(N, T, C), LABELS - 1, r"in \[0, 3\), .* got -1 for video 0: check the class"),
        (
            torch.zeros(N, T, C),
            torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]]).bool(),
            r"at least one label per video; got none for video 2: leave it out",
        ),
        (
            torch.zeros(N, T, C).index_fill(0, torch.tensor([3]), torch.nan),
            LABELS,
            r"finite logits; got NaN or infinity for video 3: check the features",
        ),
        (torch.zeros(N, T, C) - torch.inf, LABELS, r"finite logits; .* infinity for video 0"),
    ],
)
def test_wrong_predictions_and_labels_are_refused(
    logits: Tensor, labels: Tensor, message: str
) -> None:
    for refuses in (
        lambda: top_k_by_step(logits, labels, 1),
        lambda: accuracy_by_step(logits, labels),
        lambda: measure(logits, labels),
    ):
        with pytest.raises(ValueError, match=message):
            refuses()


@pytest.mark.parametrize("function", [average_precisions, mean_average_precision])
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(N, T, C), LABELS, r"logits \(N, C\), .* got torch.float32 \(4, 2, 3\): give"),
        (torch.zeros(0, C), LABELS[:0], r"no size 0; got torch.float32 \(0, 3\): give those of"),
        (torch.zeros(N, C) * torch.nan, LABELS, r"finite logits; got NaN or infinity for video 0"),
        (torch.zeros(N, C), LABELS + 1, r"labels in \[0, 3\), .* got 3 for video 2"),
        (torch.zeros(N, C), torch.zeros(N, C).bool(), r"one label per video; got none for video 0"),
    ],
)
def test_wrong_scores_are_refused(
    function: object, logits: Tensor, labels: Tensor, message: str
) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match=message):
        function(logits, labels)


def test_wrong_k_and_mode_are_refused() -> None:
    for k in (0, -1):
        with pytest.raises(ValueError, match=rf"expected k >= 1; got {k}: take 1 or 5"):
            top_k_by_step(torch.zeros(N, T, C), LABELS, k)
    message = r"expected mode 'strict' or 'official'; got 'macro': take 'strict'"
    with pytest.raises(ValueError, match=message):
        mean_average_precision(torch.zeros(N, C), LABELS, "macro")
    with pytest.raises(ValueError, match=message):
        measure(torch.zeros(N, T, C), LABELS, mode="macro")


@pytest.mark.parametrize(
    ("gmacs", "message"),
    [
        (torch.ones(N), r"gmacs \(N, T\) = \(4, 2\); got torch.float32 \(4,\): give each video's"),
        (torch.ones(N, 3), r"= \(4, 2\); got torch.float32 \(4, 3\)"),
        (torch.ones(N, T).long(), r"floating-point gmacs .* got torch.int64 \(4, 2\)"),
        (
            torch.tensor([[1.0, 1], [2, 2], [3, 2.5], [0, 0]]),
            r"never fall from step to step; got \[3.0, 2.5\] for video 2: give the cost so far",
        ),
        (
            torch.tensor([[0.0, 1], [-1, 1], [1, 1], [1, 1]]),
            r">= 0 .* got \[-1.0, 1.0\] for video 1",
        ),
        (torch.full((N, T), torch.inf), r"finite gmacs .* got \[inf, inf\] for video 0"),
        (torch.full((N, T), torch.nan), r"finite gmacs .* got \[nan, nan\] for video 0"),
    ],
)
def test_wrong_costs_are_refused(gmacs: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(torch.zeros(N, T, C), LABELS, gmacs)
