"""AR-Net: in every segment one of several networks and sides, or a few segments skipped."""

from __future__ import annotations

from .learned_system import PricedSystem
from .system import ClassifierKind

ARNET = PricedSystem(
    "arnet",
    "in each segment which of several sides to read, or how many segments to skip",
    "AR-Net (arXiv:2007.15796)",
    ClassifierKind("gru", "gaps"),
    several_groups=True,
    task="Resolution",
    keywords={"skips": (1, 2, 4)},
)
