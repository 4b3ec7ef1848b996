"""Which classes are taken for which, counted by hand."""

from __future__ import annotations

import numpy as np

from focusgym.runs.evaluation.trace import Played
from focusgym.runs.replays.interest import Pick, following
from focusgym.runs.replays.overview import confusion


def test_confusions_are_counted_after_the_last_frame() -> None:
    """The last video has the labels 0 and 2: it is right with 2, and counts for it."""
    predictions = np.array([[0, 1], [1, 1], [0, 1], [2, 0], [0, 2]])
    labels = np.array([0, 1, 0, 2, 0])
    correct = predictions == labels[:, None]
    correct[4] = [True, True]
    size = predictions.shape
    played = Played(
        names=np.array(list("abcde")),
        labels=labels,
        predictions=predictions,
        correct=correct,
        confidences=np.full(size, 0.5, dtype=np.float32),
        options=np.zeros(size, dtype=np.int64),
        attended=np.ones(size, dtype=np.bool_),
        gmacs=np.ones(size),
    )
    assert confusion(played, 4) == [[0, 1, 2], [1, 1, 1], [2, 0, 1], [2, 2, 1]]


def test_what_follows_is_what_was_not_picked() -> None:
    picks = [Pick(2, "gain", "why"), Pick(7, None, "chosen by hand"), Pick(0, "regret", "why")]
    assert [pick.position for pick in following(picks, 3, 6)] == [1, 3, 4]
    assert [pick.position for pick in following(picks, 9, 4)] == [1, 3]
    assert following(picks, 0, 6) == []
