"""Where a policy looked in videos, on options of a grid or with boxes anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .looks import coverage, entropy_bits, heat, path_px, used_bits_by_step

_MOST_CELLS = 32  # along a side of a map of coverage


class Gaze(Protocol):
    """Where a policy looked in B videos."""

    @property
    def attended(self) -> NDArray[np.bool_]:
        """``(B, T)``."""

    @property
    def path_px(self) -> float | None:
        """How far a look is from the one before it in its video; see `path_px`."""

    def rows(self, which: NDArray[np.bool_]) -> Gaze:
        """Return where it looked in some of the videos."""

    def map(self) -> dict[str, Any]:
        """Return where it looked on average, JSON-able.

        One of ``heat``, the share of the looks that went to each option ``(K,)``, and ``coverage``,
        the share that covers each cell of the frame, ``(n·n,)`` row by row; the other is None.
        """

    def times(self) -> dict[str, Any]:
        """Return how often each of the T frames has a cube, JSON-able.

        ``taken_by_frame`` and ``first_by_frame``, shares of the videos ``(T,)`` in which a cube is
        in this frame, and the first cube; None where there is a decision about every frame.
        """

    def bits(self) -> dict[str, Any]:
        """Return how undecided and how varied it was, JSON-able.

        ``entropy_bits_by_step``, of π's probabilities, and ``used_bits_by_step``, of which options
        were used, ``(T,)`` each; None where there are no options.
        """


@dataclass(frozen=True, eq=False)
class Decided:
    """What was decided in B videos, among the K options of a grid.

    Attributes:
        options: ``(B, T)`` int64 in ``[0, K)``, the chosen option, also where it was skipped.
        attended: ``(B, T)`` bool.
        probabilities: ``(B, T, K)`` float32, π's; 1/K for random patches.
        keep: ``(B, T)`` float32, p^B of π′; None without one.
        options_px: ``(K, 4)`` int64, the boxes of the options.
    """

    options: NDArray[np.int64]
    attended: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    keep: NDArray[np.float32] | None
    options_px: NDArray[np.int64]

    @property
    def path_px(self) -> float | None:
        """How far a look is from the one before it in its video."""
        return path_px(self.options_px[self.options], self.attended)

    def rows(self, which: NDArray[Any]) -> Decided:
        """Return what was decided in some of the videos."""
        keep = None if self.keep is None else self.keep[which]
        chosen = self.options[which], self.attended[which], self.probabilities[which]
        return Decided(*chosen, keep, self.options_px)

    def map(self) -> dict[str, Any]:
        """Return the share of the looks that went to each option."""
        shares = heat(self.options, self.attended, len(self.options_px))
        return {"heat": shares.tolist(), "coverage": None}

    def times(self) -> dict[str, Any]:
        """Return nothing: there is a decision about every frame."""
        return {"taken_by_frame": None, "first_by_frame": None}

    def bits(self) -> dict[str, Any]:
        """Return how undecided and how varied it was, by step."""
        used = used_bits_by_step(self.options, self.attended, len(self.options_px))
        undecided = entropy_bits(self.probabilities).mean(axis=0)
        return {"entropy_bits_by_step": undecided.tolist(), "used_bits_by_step": used.tolist()}


@dataclass(frozen=True, eq=False)
class BoxGaze:
    """Boxes that were put anywhere in the frames of B videos.

    Attributes:
        boxes_px: ``(B, T, 4)`` (left, top, right, bottom), also between pixels.
        attended: ``(B, T)`` bool.
        frame_px: S.
    """

    boxes_px: NDArray[np.float64]
    attended: NDArray[np.bool_]
    frame_px: int

    @property
    def path_px(self) -> float | None:
        """How far a look is from the one before it in its video."""
        return path_px(self.boxes_px, self.attended)

    def rows(self, which: NDArray[np.bool_]) -> BoxGaze:
        """Return where it looked in some of the videos."""
        return BoxGaze(self.boxes_px[which], self.attended[which], self.frame_px)

    def map(self) -> dict[str, Any]:
        """Return the share of the looks that covers each cell of the frame."""
        n = min(self.frame_px, _MOST_CELLS)
        shares = coverage(self.boxes_px, self.attended, self.frame_px, n)
        return {"heat": None, "coverage": np.round(shares, 5).ravel().tolist()}

    def times(self) -> dict[str, Any]:
        """Return nothing: there is a decision about every frame."""
        return {"taken_by_frame": None, "first_by_frame": None}

    def bits(self) -> dict[str, Any]:
        """Return nothing: there are no options."""
        return {"entropy_bits_by_step": None, "used_bits_by_step": None}


@dataclass(frozen=True, eq=False)
class CubeGaze(BoxGaze):
    """Cubes that were put anywhere in B videos; see `BoxGaze`, with T = D + 1.

    Attributes:
        segments: ``(B, D + 1)`` int64, in which frame each cube is; −1 where there is none.
        frames: T, frames of a video.
    """

    segments: NDArray[np.int64]
    frames: int

    def rows(self, which: NDArray[np.bool_]) -> CubeGaze:
        """Return where it looked in some of the videos."""
        chosen = self.boxes_px[which], self.attended[which], self.frame_px
        return CubeGaze(*chosen, self.segments[which], self.frames)

    def times(self) -> dict[str, Any]:
        """Return how often each frame has a cube, and the first one."""
        is_in = self.segments[..., None] == np.arange(self.frames)  # (B, D + 1, T)
        return {
            "taken_by_frame": is_in.any(axis=1).mean(axis=0).tolist(),
            "first_by_frame": is_in[:, 1].mean(axis=0).tolist(),
        }
