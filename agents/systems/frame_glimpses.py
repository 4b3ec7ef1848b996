"""FrameGlimpses: a few glimpses at places that are named as numbers, and when to predict."""

from __future__ import annotations

import math

from .learned_system import Learner, PricedSystem
from .system import ClassifierKind

# Of the video, whose length is 2 in the numbers of the task.
_NOISE = 2 * 0.08

FRAME_GLIMPSES = PricedSystem(
    "frame_glimpses",
    "which place of the video to read next, as a number, or to give the prediction",
    "FrameGlimpses (arXiv:1511.06984); the learner is ours",
    ClassifierKind("gru", "shuffled"),
    task="Glimpses",
    keywords={"reward": "final"},
    learner=Learner(
        keywords={
            **Learner().keywords,
            "ent_coef": 0.0,
            "policy_kwargs": {"log_std_init": math.log(_NOISE)},
        }
    ),
)
