"""Which videos are selected, on a hand-made table of what two policies did."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from focusgym.runs.configs.replay import Kind
from focusgym.runs.evaluation.trace import Played
from focusgym.runs.replays.interest import Pick, pick

T = 4


def played(confidences: list[float], correct: list[bool], skips: list[int] | None = None) -> Played:
    """Five videos with these ends; the first frames are always right and sure."""
    n = len(confidences)
    attended = np.ones((n, T), dtype=bool)
    for row, k in enumerate(skips or [0] * n):
        attended[row, :k] = False
    sure = np.ones((n, T), dtype=np.float32)
    sure[:, -1] = confidences
    predictions = np.zeros((n, T), dtype=np.int64)
    predictions[:, -1] = np.where(correct, 0, 1)
    return Played(
        names=np.array([f"{i}.mp4" for i in range(n)]),
        labels=np.zeros(n, dtype=np.int64),
        predictions=predictions,
        correct=predictions == 0,
        confidences=sure,
        options=np.where(attended, 0, -1),
        attended=attended,
        gmacs=np.ones((n, T)),
    )


FIRST = played([0.9, 0.8, 0.7, 0.3, 0.9], [True, True, True, False, True], [0, 3, 1, 3, 0])
SECOND = played([0.1, 0.4, 0.2, 0.2, 0.95], [False, True, False, False, True])


def regrets() -> NDArray[np.float64]:
    return np.array([0.0, 0.5, 2.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("kind", "positions"),
    [
        ("turned_right", [0, 2]),  # gains 0.8, 0.5
        ("gain", [0, 2, 1, 3]),  # 0.8, 0.5, 0.4, 0.1, and -0.05 is no gain
        ("regret", [2, 3, 1]),  # no regret, not selected
        ("skipped", [1, 3, 2]),  # three, three, one: of equals the first
    ],
)
def test_a_kind_takes_those_that_have_most_of_it(kind: Kind, positions: list[int]) -> None:
    for count in (1, 2, 10):
        picks = pick([kind], count, FIRST, SECOND, regrets)
        assert [each.position for each in picks] == positions[:count]
        assert {each.kind for each in picks} == {kind}


def test_a_video_is_selected_once() -> None:
    chosen = [Pick(2, None, "chosen by hand")]
    picks = pick(["turned_right", "gain", "skipped"], 2, FIRST, SECOND, regrets, chosen)
    assert [(each.position, each.kind) for each in picks] == [
        (2, None),
        (0, "turned_right"),
        (1, "gain"),
        (3, "gain"),
    ]


def test_words_say_the_figure() -> None:
    words = [
        pick([kind], 1, FIRST, SECOND, regrets)[0].why
        for kind in ("turned_right", "gain", "regret", "skipped")
    ]
    assert words == [
        "turned right: wrong with the second policy; confidence +0.80",
        "largest gain: confidence +0.80 over the second policy",
        "largest regret: confidence 2.00 below the best, summed over the frames",
        "most skipped: 3 of 4 frames",
    ]


def test_what_would_be_told_as_nothing_is_not_selected() -> None:
    ends = played([0.504, 0.506], [True, True]), played([0.5, 0.5], [True, True])
    assert [each.position for each in pick(["gain"], 9, *ends, regrets)] == [1]
    small = pick(["regret"], 9, *ends, lambda: np.array([0.006, 0.004]))
    assert [(each.position, each.why) for each in small] == [
        (0, "largest regret: confidence 0.01 below the best, summed over the frames")
    ]


def test_regrets_are_computed_only_if_they_are_asked_for() -> None:
    def none() -> NDArray[np.float64]:
        raise AssertionError("nobody asked")

    assert len(pick(["gain"], 9, FIRST, SECOND, none)) == 4
