"""What came of recognizing videos."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from .measures import gmacs_of, measures
from .trace import Played


class Outcome(NamedTuple):
    """What was done in B videos, and what was predicted.

    Attributes:
        played: What was done, and what it cost.
        logits: ``(B, T, C)`` after every frame.
        labels: ``(B,)`` int64; or ``(B, C)`` bool, where videos have several.
    """

    played: Played
    logits: Tensor
    labels: Tensor

    def row(self, name: str) -> dict[str, Any]:
        """Return how right the predictions are, and what they cost; see `measures`."""
        played = self.played
        row = measures(name, self.logits, self.labels, played.attended, played.glances)
        return row | gmacs_of(played)
