"""MultiAgent: pointers that each move ahead or back in the video, until all of them stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .learned_system import PricedSystem, Table
from .system import ClassifierKind


@dataclass(frozen=True)
class PointersSystem(PricedSystem):
    """Pointers for a quarter of the segments, two at least; see `PricedSystem` for its setting."""

    def environment(self, table: Table, setting: float) -> dict[str, Any]:
        """Return the keywords at a price."""
        n_pointers = min(table.steps, max(2, table.steps // 4))
        return {**super().environment(table, setting), "n_pointers": n_pointers}


MULTI_AGENT = PointersSystem(
    "multi_agent",
    "how each of several pointers moves, and the segments that they come to are read",
    "MultiAgent (arXiv:1907.13369); one agent for all pointers, and the GRU, are ours",
    # A mean of probabilities is on average no surer of the true class after more frames, so that no
    # gain in confidence would pay for them.
    ClassifierKind("gru", "shuffled"),
    task="Pointers",
)
