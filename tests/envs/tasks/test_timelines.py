"""Which segment comes next."""

from __future__ import annotations

import numpy as np
import pytest

from focusgym.envs import Timeline


def test_a_timeline_has_a_segment_for_each_decision() -> None:
    timeline = Timeline((3, 0, 2), 2)
    assert timeline.segment(np.array([1, 0])).tolist() == [0, 3]
    for wrong in (0, 4):
        with pytest.raises(ValueError, match=f"expected 1 to 3 decisions.*; got {wrong}"):
            Timeline((3, 0, 2), wrong)
