"""Runs of ``focusgym fit end-to-end``: AdaFocusV2, and its controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import (
    FIXED_KINDS,
    AdaptiveRecognizer,
    Cost,
    Recognition,
    VideoRecognizer,
    fixed_places,
)
from ...recognizer.places.kinds import FixedKind
from .pixel_runs import PixelRun, encoder_names
from .trace import Played


@dataclass(frozen=True, eq=False)
class BoxRun(PixelRun):
    """A recognizer that looks at a box in every frame; see `PixelRun`.

    Attributes:
        recognizer: In eval mode, its encoders fused.
    """

    what: ClassVar[str] = "boxes"
    recognizer_kind: ClassVar[type[VideoRecognizer]] = AdaptiveRecognizer
    recognizer: AdaptiveRecognizer

    @property
    def method(self) -> str:
        """AdaFocusV2, or how its boxes are placed."""
        return "AdaFocusV2" if self.learned else f"{self._kind} boxes"

    @property
    def learned(self) -> bool:
        """Whether it learned where to look."""
        return self._kind is None

    @property
    def beside(self) -> tuple[FixedKind, ...]:
        """The kinds of boxes other than its own."""
        return tuple(kind for kind in FIXED_KINDS if kind != self._kind)

    @property
    def side_px(self) -> int:
        """P, side of the boxes."""
        return self.recognizer.places.side_px

    @property
    def networks(self) -> dict[str, str]:
        """The names of both encoders."""
        return encoder_names(self.recognizer.glance_encoder, self.recognizer.local_encoder)

    @property
    def gmacs(self) -> NDArray[np.float64]:
        """``(1, T)``: what a video costs after each frame."""
        cost = self.recognizer.cost
        steps = range(1, self.videos.frames.steps + 1)
        return np.array([[cost.of_video(n, policy=self.learned).total_gmacs for n in steps]])

    @property
    def draws_shape(self) -> tuple[int, int]:
        """Two numbers for every frame."""
        return self.videos.frames.steps, 2

    def look(self, frames: Tensor, kind: str | None, draws: Tensor) -> Recognition:
        """Recognize videos; see `PixelRun.look`."""
        fixed = next((each for each in FIXED_KINDS if each == (kind or self._kind)), None)
        places = self.recognizer.places
        where = None if fixed is None else fixed_places(fixed, places, draws)
        return self.recognizer(frames, where)  # type: ignore[no-any-return]

    def cost_of(self, played: Played, *, policy: bool) -> Cost:
        """Return what a video cost on average, by network; see `PixelRun.cost_of`."""
        return self.recognizer.cost.of_video(
            self.videos.frames.steps,
            policy=policy and self.learned,
            kept_share=played.kept_share,
        )

    @property
    def _kind(self) -> FixedKind | None:
        """How its boxes were placed in training; None where it learned where to look."""
        return next((kind for kind in FIXED_KINDS if kind == self.settings["boxes"]), None)
