"""Who puts boxes anywhere in the frames, and what came of it in a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...envs import Caption, draw_decision
from .contract import OF_OPTIONS, Shot, outcome_facts


@dataclass(frozen=True, eq=False)
class BoxLooker:
    """Who puts boxes anywhere: a run, or places that depend on nothing in its networks.

    Attributes:
        name: What the pages call it.
        folder: Name of the run.
        what: What it is, in words: the run, or its places.
        learned: Whether it learned where to look.
        side_px: P, of its boxes.
    """

    name: str
    folder: str
    what: str
    learned: bool
    side_px: int

    @property
    def about(self) -> str:
        """What it is, in a sentence without its end."""
        return f"{self.name}: {self.what}"


@dataclass(frozen=True, eq=False)
class BoxEpisode:
    """A video with boxes that were put anywhere, decision by decision; see `Episode`.

    Attributes:
        label: Names of the true classes.
        shot: The frames of the video.
        attended: ``(T,)`` bool.
        boxes_px: ``(T, 4)`` float64, between pixels, to a thousandth of a pixel.
        correct: ``(T,)`` bool.
        confidences: ``(T,)`` float32.
        class_probabilities: ``(T, C)`` float32.
        gmacs: ``(T,)`` float64, so far.
    """

    label: str
    shot: Shot
    attended: NDArray[np.bool_]
    boxes_px: NDArray[np.float64]
    correct: NDArray[np.bool_]
    confidences: NDArray[np.float32]
    class_probabilities: NDArray[np.float32]
    gmacs: NDArray[np.float64]

    @property
    def unseen(self) -> Sequence[str]:
        """What to say where f_L was not run."""
        return ["skipped"] * len(self.attended)

    def seen(self, pixels: Tensor) -> Tensor:
        """Return the frames: a decision is about each of them in turn."""
        return pixels

    def facts(self, classes: Sequence[str], labels: Sequence[int]) -> dict[str, Any]:
        """Return it as JSON-able values; what only options have is None."""
        return outcome_facts(self, classes, labels) | dict.fromkeys(OF_OPTIONS)

    def pictures(self) -> NDArray[np.uint8]:
        """Draw every decision, ``(T, H, W, 3)``, without the cells of the glance map."""
        drawn, seen = [], self.seen(self.shot.pixels)
        for t, (attended, box) in enumerate(
            zip(self.attended, self.boxes_px.tolist(), strict=True)
        ):
            place = tuple(box) if attended else None
            drawn.append(draw_decision(seen[t], self._caption(t), (1, 1), place, bool(attended)))
        return np.stack(drawn)

    def _caption(self, step: int) -> Caption:
        so_far = tuple(self.confidences[: step + 1].tolist())
        ends = bool(self.correct[step]), float(self.gmacs[step])
        return Caption(self.label, len(self.attended), so_far, *ends)
