"""Orders of segments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusgym.envs import Timeline, coarse_to_fine


def test_coarse_to_fine_is_the_published_order_of_ten() -> None:
    assert coarse_to_fine(10) == (5, 0, 9, 2, 7, 4, 6, 3, 8, 1)


@given(st.integers(1, 200))
def test_every_prefix_is_spread_over_the_video(steps: int) -> None:
    """No gap is more than twice as long as another one, ends aside."""
    order = coarse_to_fine(steps)
    assert sorted(order) == list(range(steps))
    for n in range(4, steps + 1):
        gaps = np.diff(sorted(order[:n]))
        assert gaps.max() <= 2 * gaps.min() + 1


def test_a_timeline_has_a_segment_for_each_decision() -> None:
    timeline = Timeline((3, 0, 2), 2)
    assert timeline.segment(np.array([1, 0])).tolist() == [0, 3]
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=f"expected 1 to 3 decisions.*; got {wrong}"):
            Timeline((3, 0, 2), wrong)
