"""AdaFuse: in every segment one of several mask profiles of one network."""

from __future__ import annotations

from .encoders import MASK_PROFILES
from .learned_system import PricedSystem
from .system import ClassifierKind

ADAFUSE = PricedSystem(
    "adafuse",
    "in each segment how many channels of one network to take from the segment before",
    "AdaFuse (arXiv:2102.05775)",
    ClassifierKind("gru"),
    several_groups=True,
    approximate=True,
    note="approximate, for channels are taken as if the segment before had been computed in full; "
    "`focusgym evaluate RUN --pixels`, of a run in cells, takes them as they were last computed",
    of_encoders=MASK_PROFILES,
    task="Resolution",
    keywords={"skips": ()},
)
