"""Runs of ``focusgym fit cubes``: AdaFocusV3, and its controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import Cost, CubeRecognizer, Recognition, VideoRecognizer, evenly_spread
from .pixel_runs import PixelRun, encoder_names
from .trace import Played


@dataclass(frozen=True, eq=False)
class CubeRun(PixelRun):
    """A recognizer that looks at cubes of the video, one after the other; see `PixelRun`.

    Its first prediction is that after the glance.

    Attributes:
        recognizer: In eval mode, its encoders fused.
    """

    what: ClassVar[str] = "cubes"
    recognizer_kind: ClassVar[type[VideoRecognizer]] = CubeRecognizer
    glances: ClassVar[int] = 1
    recognizer: CubeRecognizer

    @property
    def method(self) -> str:
        """AdaFocusV3, or how its cubes are placed."""
        sizes = self.recognizer.policy.config
        if sizes.time == sizes.space:
            return "AdaFocusV3" if sizes.learns else f"{sizes.time} cubes"
        return f"cubes {sizes.time} in time, {sizes.space} in space"

    @property
    def learned(self) -> bool:
        """Whether it learned where to look, at least along an axis."""
        return self.recognizer.policy.config.learns

    @property
    def beside(self) -> tuple[str, ...]:
        """Random cubes, where it learned where to look, and cubes that are spread evenly."""
        return ("random", "uniform") if self.learned else ("uniform",)

    @property
    def side_px(self) -> int:
        """P, side of the cubes."""
        return self.recognizer.cubes.side_px

    @property
    def networks(self) -> dict[str, str]:
        """The names of both encoders."""
        return encoder_names(self.recognizer.glance_encoder, self.recognizer.local_encoder)

    @property
    def gmacs(self) -> NDArray[np.float64]:
        """``(1, D + 1)``: what a video costs after the glance and after each cube."""
        return np.cumsum(self.recognizer.step_gmacs(policy=True))[None]

    @property
    def draws_shape(self) -> tuple[int, int]:
        """Three numbers for every cube."""
        return self.recognizer.policy.config.cubes, 3

    def look(self, frames: Tensor, kind: str | None, draws: Tensor) -> Recognition:
        """Recognize videos; see `PixelRun.look`."""
        if kind is None:
            return self.recognizer(frames, draws=draws)  # type: ignore[no-any-return]
        fixed = draws.float()
        if kind == "uniform":
            fixed = evenly_spread(draws.shape[1]).expand_as(fixed)
        return self.recognizer(frames, fixed)  # type: ignore[no-any-return]

    def cost_of(self, played: Played, *, policy: bool) -> Cost:
        """Return what a video cost on average, by network; see `PixelRun.cost_of`."""
        cost, n = self.recognizer.cost, self.recognizer.policy.config.cubes
        share = played.kept_share
        return Cost(
            cost.glance_gmacs,
            policy * cost.policy_gmacs,
            share * cost.local_gmacs,
            (1 + share * n) / (n + 1) * cost.classifier_gmacs,
        )
