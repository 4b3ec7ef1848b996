"""VideoIQ: in every segment one of several precisions, or the segment skipped."""

from __future__ import annotations

from .encoders import FEW_BITS
from .learned_system import PricedSystem
from .system import ClassifierKind

VIDEOIQ = PricedSystem(
    "videoiq",
    "in each segment with how many bits to read it, or to skip it",
    "VideoIQ (arXiv:2108.10394)",
    ClassifierKind("gru", "gaps"),
    several_groups=True,
    note="multiply-adds of b bits count as b² / 32² of one; time does not follow them",
    of_encoders=FEW_BITS,
    task="Resolution",
    keywords={"skips": (1,)},
)
