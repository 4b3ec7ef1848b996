"""Agents that know the truth: bounds on what looking at one option per frame can give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..envs import FocusEngine, Plan


class TrueBoxAgent:
    """A bound, not a policy: the option nearest to the true box of every frame, hidden or not."""

    name, runs_policy, tries_all = "true_box", False, False

    def __init__(self, centers_px: NDArray[np.floating]) -> None:
        """Take the centres ``(N, T, 2)`` of the boxes, (x, y) in pixels, for all cached videos."""
        self._centers_px = centers_px

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``."""
        return Plan.everywhere(engine.cache.places.nearest(self._centers_px[videos]))


class OracleAgent:
    """A bound, not a policy: the option that gives the true label the highest confidence.

    Greedy: it knows the label, tries all K options at each step, and does not look ahead.
    """

    name, runs_policy, tries_all = "oracle", False, True

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``; plays the episodes on the engine."""
        return engine.oracle(videos)
