"""Who puts boxes anywhere in the frames of video files, and what came of it in a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs import Caption, draw_decision
from ...recognizer.places.fixed import FixedKind
from ..evaluation.pixel_runs import PixelRun, all_places
from .contract import OF_OPTIONS, Shot, outcome_facts


@dataclass(frozen=True, eq=False)
class PixelLooker:
    """A run of ``focusgym fit end-to-end``, or places that depend on nothing in its networks.

    Attributes:
        name: What the pages call it.
        run: The run.
        kind: Of these places; None looks where the run does.
    """

    name: str
    run: PixelRun
    kind: FixedKind | None = None

    @classmethod
    def own(cls, run: PixelRun) -> PixelLooker:
        """Return who looks where a run does."""
        return cls(run.method, run)

    @classmethod
    def beside(cls, run: PixelRun) -> PixelLooker:
        """Return what a run is shown beside: random places, or central ones where it is random."""
        kind = all_places(run)[0]
        return cls(f"{kind} boxes", run, kind)

    @property
    def learned(self) -> bool:
        """Whether it learned where to look."""
        return self.kind is None and self.run.own_kind is None

    @property
    def about(self) -> str:
        """What it is, in a sentence without its end."""
        if self.kind is None:
            return f"{self.name}: the run {self.run.name}"
        return f"{self.name}: {self.kind} places in the networks of {self.run.name}"


@dataclass(frozen=True, eq=False)
class PixelEpisode:
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

    def facts(self, classes: Sequence[str], labels: Sequence[int]) -> dict[str, Any]:
        """Return it as JSON-able values; what only options have is None."""
        return outcome_facts(self, classes, labels) | dict.fromkeys(OF_OPTIONS)

    def pictures(self) -> NDArray[np.uint8]:
        """Draw every decision, ``(T, H, W, 3)``, without the cells of the glance map."""
        drawn = []
        for t, (attended, box) in enumerate(
            zip(self.attended, self.boxes_px.tolist(), strict=True)
        ):
            so_far = tuple(self.confidences[: t + 1].tolist())
            ends = bool(self.correct[t]), float(self.gmacs[t])
            caption = Caption(self.label, len(self.attended), so_far, *ends)
            place = tuple(box) if attended else None
            drawn.append(draw_decision(self.shot.pixels[t], caption, (1, 1), place, bool(attended)))
        return np.stack(drawn)
