"""OCSampler: one decision, which segments of a video are read."""

from __future__ import annotations

from .learned_system import ShareSystem
from .system import ClassifierKind

OCSAMPLER = ShareSystem(
    "ocsampler",
    "which segments to read, all at once after a glance at the whole video",
    "OCSampler (arXiv:2201.04388)",
    ClassifierKind("average", reuse_glance=True),
    settings=(0.8, 0.6, 0.4, 0.2),
    task="Subset",
    count="n_segments",
)
