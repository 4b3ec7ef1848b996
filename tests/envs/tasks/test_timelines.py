"""Which segment comes next, and when an episode ends."""

from __future__ import annotations

import numpy as np
import pytest

from focusgym.envs import Timeline


def test_a_timeline_has_a_segment_for_each_decision() -> None:
    timeline = Timeline((3, 0, 2), 2)
    assert timeline.segment(np.array([1, 0, 2, 7])).tolist() == [0, 3, 2, 2]
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=f"expected 1 to 3 decisions.*; got {wrong}"):
            Timeline((3, 0, 2), wrong)


def test_skips_go_on_and_may_leave_nothing() -> None:
    timeline, place = Timeline.in_order(5, (1, 2, 4)), np.array([0, 1, 3, 4])
    ends = [[False] * 3, [False, False, True], [False, True, True], [True] * 3]
    assert timeline.skips_to_the_end(place).tolist() == ends
    assert timeline.is_over(place + 1, np.array([1, 1, 5, 2])).tolist() == [
        False,
        False,
        True,
        True,
    ]
    assert (timeline.may_stop, Timeline.in_order(5).may_stop) == (True, False)
    assert Timeline.in_order(5).skips_to_the_end(place).shape == (4, 0)


def test_kinds_of_timelines() -> None:
    """Each with its segments, most decisions, beginning, whether it may stop, and glances."""
    timelines = [
        Timeline.in_order(4),
        Timeline.given_order([2, 0], 4),
        Timeline.free(4),
        Timeline.free(4, 3, begins=1),
        Timeline.once(),
    ]
    assert [each.order for each in timelines] == [(0, 1, 2, 3), (2, 0), *[(0, 1, 2, 3)] * 2, (0,)]
    assert [each.n_decisions for each in timelines] == [4, 2, 4, 3, 1]
    assert [each.begins for each in timelines] == [0, 0, 2, 1, 0]
    assert [each.may_stop for each in timelines] == [False, True, True, True, False]
    assert [each.glances for each in timelines] == ["next", "taken", "all", "all", "all"]
    with pytest.raises(ValueError, match=r"frame_order must be different segments in \[0, 4\)"):
        Timeline.given_order([1, 1], 4)
    with pytest.raises(
        ValueError, match=r"n_decisions must be in 1..4, the segments of a video; got 5"
    ):
        Timeline.free(4, 5)
