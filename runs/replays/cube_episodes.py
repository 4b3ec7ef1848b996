"""A video with cubes, decision by decision: the glance first, then the cubes in their order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...envs import Caption
from .box_episodes import BoxEpisode


@dataclass(frozen=True, eq=False)
class CubeEpisode(BoxEpisode):
    """A video with a glance and D cubes; see `BoxEpisode`, with T = D + 1.

    Attributes:
        segments: ``(D + 1,)`` int64, in which of the video's frames each cube is, its middle one;
            −1 for the glance, and for cubes after the video stopped.
    """

    segments: NDArray[np.int64]

    @property
    def unseen(self) -> Sequence[str]:
        """What to say where f_L was not run: of the glance, and after the video stopped."""
        return ["glance", *["stopped"] * (len(self.segments) - 1)]

    def seen(self, pixels: Tensor) -> Tensor:
        """Return the frame of each cube; all frames in one picture for the glance, and at last."""
        small = mosaic(pixels)
        every = [pixels[at] if at >= 0 else small for at in self.segments.tolist()]
        return torch.stack(every)

    def facts(self, classes: Sequence[str], labels: Sequence[int]) -> dict[str, Any]:
        """Return it as JSON-able values, with ``segments``: None where there is no frame."""
        where = [None if at < 0 else at for at in self.segments.tolist()]
        return super().facts(classes, labels) | {"segments": where}

    def _caption(self, step: int) -> Caption:
        usual, last = super()._caption(step), len(self.segments) - 1
        count = f"cube {step} of {last}" if step else "after the glance"
        values = usual.label, usual.n_decisions, usual.confidences, usual.correct, usual.gmacs
        return Caption(*values, count=count, unseen=self.unseen[step])


def mosaic(pixels: Tensor) -> Tensor:
    """Return frames ``(T, 3, S, S)`` uint8 in one picture ``(3, S, S)``, row by row."""
    side = pixels.shape[-1]
    n = math.ceil(math.sqrt(len(pixels)))
    small = functional.interpolate(pixels.float(), size=(side // n, side // n), mode="area")
    picture = pixels.new_zeros(3, side, side)
    for t, frame in enumerate(small.round().to(torch.uint8)):
        top, left = (t // n) * (side // n), (t % n) * (side // n)
        picture[:, top : top + side // n, left : left + side // n] = frame
    return picture
