"""The whole frame at a side: the one option where nothing is cut out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..limits import check_side
from .checks import check_frames
from .indexed import IndexedPlaces


@dataclass(frozen=True)
class WholeFrame(IndexedPlaces):
    """One option, K = 1: the whole frame, down-sampled to a side by area average.

    Several of them, with a network each, are the resolutions among which AR-Net chooses.

    Attributes:
        frame_px: Frame side S, pixels.
        side_px: Side of what an encoder reads, pixels, at most S; S leaves the frame as it is.
        kind: Which places these are, for descriptions.

    Raises:
        ValueError: If the side is not in 1..S.

    Source: AdaFocus (arXiv:2105.03245) section 4.1, the baselines on whole frames; AR-Net
    (arXiv:2007.15796) section 3: frames of 224, 168, 112 and 84 px. Area averaging is ours: every
    pixel of the frame counts alike where S is a multiple of the side.
    """

    plural: ClassVar[str] = "whole frames"
    grid: ClassVar[None] = None
    is_whole: ClassVar[bool] = True
    crops_integers: ClassVar[bool] = False

    frame_px: int
    side_px: int
    kind: str = field(default="full", init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the side."""
        check_side(self.frame_px)
        if not 0 < self.side_px <= self.frame_px:
            raise ValueError(
                f"the side of a whole frame must be in 1..{self.frame_px} (the frame side); got "
                f"{self.side_px}: choose a smaller side or a larger frame"
            )

    @property
    def name(self) -> str:
        """Name of this place as an option group, such as ``full224``."""
        return f"full{self.side_px}"

    @property
    def n_options(self) -> int:
        """K = 1."""
        return 1

    @property
    def boxes_px(self) -> NDArray[np.int64]:
        """The box ``(1, 4)`` of the frame as (left, top, right, bottom), pixels."""
        return np.array([[0, 0, self.frame_px, self.frame_px]], dtype=np.int64)

    def nearest(self, centers_px: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the only option, 0, for points ``(..., 2)``."""
        return np.zeros(np.asarray(centers_px).shape[:-1], dtype=np.int64)

    def crop(self, frames: Tensor, options: Tensor) -> Tensor:
        """Return each frame at the side.

        Args:
            frames: ``(M, 3, S, S)`` of a floating dtype, such as `Encoder.prepare` returns: grey
                levels are averaged without rounding.
            options: ``(M,)`` int64, all 0.

        Returns:
            ``(M, 3, side, side)``, same dtype.

        Raises:
            ValueError: If the frames are not S×S or of integers, or an option is not 0.
        """
        self.check(options)
        return self._resized(frames)

    def crop_all(self, frames: Tensor) -> Tensor:
        """Return ``(M, 1, 3, side, side)`` of frames ``(M, 3, S, S)``; see `crop`."""
        return self._resized(frames)[:, None]

    def _resized(self, frames: Tensor) -> Tensor:
        check_frames(frames, self.frame_px)
        if not torch.is_floating_point(frames):
            raise ValueError(
                f"frames to be averaged must be of a floating dtype; got {frames.dtype}: normalise "
                "them first, with Encoder.prepare"
            )
        if self.side_px == self.frame_px:
            return frames
        return functional.interpolate(frames, size=self.side_px, mode="area")
