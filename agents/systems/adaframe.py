"""AdaFrame: jumps through a video with a memory of cheap features."""

from __future__ import annotations

from .learned_system import PricedSystem
from .system import ClassifierKind

ADAFRAME = PricedSystem(
    "adaframe",
    "which segment to read next, anywhere in the video, or to stop",
    "AdaFrame (arXiv:1811.12432)",
    ClassifierKind("gru", "shuffled", reuse_glance=True),
    task="Jump",
    keywords={"reward": "best_margin"},
)
