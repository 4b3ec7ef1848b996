"""An agent that tries everything and trusts f_C: attainable without a label, and expensive."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..envs import FocusEngine, Plan

_CHUNK = 64  # videos at a time, with the states of all K options of a segment


class MostConfidentAgent:
    """The option after which f_C is most confident, whatever it is confident of.

    Greedy: it tries all K options at each step, and does not look ahead. It never reads a label, so
    whoever pays for K looks at each step can do as it does.
    """

    name, runs_policy, tries_all = "most_confident", False, True

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``; plays the episodes on the engine."""
        n_options, steps = engine.cache.n_options, engine.cache.steps
        options = np.empty((len(videos), steps), dtype=np.int64)
        for start in range(0, len(videos), _CHUNK):
            some = videos[start : start + _CHUNK]
            every = np.tile(np.arange(n_options), (len(some), 1))
            engine.start(some)
            for t in range(steps):
                tried = engine.try_options(np.full(len(some), t), every)
                surest = tried.logits.softmax(dim=-1).amax(dim=-1)  # (B, K)
                best = surest.argmax(dim=1).cpu().numpy()
                options[start : start + _CHUNK, t] = best
                engine.commit(tried, best)
        return Plan.everywhere(options)
