"""OCSampler: one decision, which segments of a video are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .system import ClassifierKind, LearnedSystem, Table, share_of


@dataclass(frozen=True)
class SubsetSystem(LearnedSystem):
    """A learned system that chooses as many segments as it is told, at once.

    Its setting is the share of the segments.
    """

    knob: ClassVar[str] = "share"

    def environment(self, table: Table, setting: float) -> dict[str, Any]:
        """Return the keywords at a share of the segments."""
        return {**self.keywords, "n_segments": share_of(table.steps, setting)}


OCSAMPLER = SubsetSystem(
    "ocsampler",
    "which segments to read, all at once after a glance at the whole video",
    "OCSampler (arXiv:2201.04388)",
    ClassifierKind("average", reuse_glance=True),
    settings=(0.8, 0.6, 0.4, 0.2),
    task="Subset",
)
