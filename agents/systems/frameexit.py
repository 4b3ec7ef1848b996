"""FrameExit: segments coarse to fine, until the prediction is good enough."""

from __future__ import annotations

from .learned_system import PricedSystem
from .system import ClassifierKind

FRAMEEXIT = PricedSystem(
    "frameexit",
    "after each segment, coarse to fine, whether to stop",
    "FrameExit (arXiv:2104.13400)",
    ClassifierKind("max_pool", "coarse_to_fine"),
    task="Exit",
)
