"""Boxes at any place of a frame: where they are, what is cut out, and the gradient of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..limits import check_side
from .checks import check_centers, check_frames


@dataclass(frozen=True)
class Boxes:
    """Square boxes of one size at any place of a frame, also between its pixels.

    A place is named by its centre (x, y) in [0, 1]²: 0 is where the box touches the left or upper
    edge of the frame, 1 where it touches the other one, so that every box lies in the frame. What
    is cut out is interpolated between pixels, and differentiable with respect to the centre.

    Attributes:
        frame_px: Frame side S, pixels.
        side_px: Side P of the boxes, and of what an encoder reads, pixels, at most S.
        whole_pixels: Whether boxes lie at whole pixels instead, rounded down: then nothing is
            interpolated, and no gradient goes to the centre.
        kind: Which places these are, for descriptions.

    Raises:
        ValueError: If the box does not fit into the frame.

    Source: AdaFocusV2 (arXiv:2112.14238) section 3.2: the pixel (x, y) of a patch is the bilinear
        interpolation of the four pixels of the frame around it. The released code's centres are
        fractions of S − P, too. That of AdaFocus rounds corners down to whole pixels.
    """

    plural: ClassVar[str] = "boxes"
    names_centers: ClassVar[bool] = True
    grid: ClassVar[None] = None
    is_whole: ClassVar[bool] = False
    crops_integers: ClassVar[bool] = False

    frame_px: int
    side_px: int
    whole_pixels: bool = False
    kind: str = field(default="boxes", init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the boxes fit."""
        check_side(self.frame_px)
        if not 0 < self.side_px <= self.frame_px:
            raise ValueError(
                f"the side of a box must be in 1..{self.frame_px} (the frame side); got "
                f"{self.side_px}: choose a smaller box or a larger frame"
            )

    @property
    def name(self) -> str:
        """Name of these places, such as ``boxes128``."""
        return f"boxes{self.side_px}"

    @property
    def n_options(self) -> int:
        """K = 1: there is one option, and it may be anywhere."""
        return 1

    @property
    def span_px(self) -> int:
        """S − P: how far a box can be moved along an axis, pixels."""
        return self.frame_px - self.side_px

    @property
    def boxes_px(self) -> NDArray[np.int64]:
        """The central box ``(1, 4)`` as (left, top, right, bottom), pixels, rounded down."""
        first = self.span_px // 2
        last = first + self.side_px
        return np.array([[first, first, last, last]], dtype=np.int64)

    def nearest(self, centers_px: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the places ``(..., 2)`` whose boxes are centred on points ``(..., 2)``, pixels.

        Where that box would not lie in the frame, the nearest one that does.
        """
        corner = np.asarray(centers_px) - self.side_px / 2
        inside: NDArray[np.float32] = (corner / max(1, self.span_px)).clip(0, 1).astype(np.float32)
        return inside

    def drawn(self, draws: Tensor) -> Tensor:
        """Return the places ``(..., 2)`` that uniform numbers ``(..., 2)`` in [0, 1) name."""
        return draws.float()

    def first(self, *shape: int) -> Tensor:
        """Return places in the upper left corner: zeros ``(*shape, 2)`` float32."""
        return torch.zeros((*shape, 2))

    def boxes_at(self, where: Tensor) -> Tensor:
        """Return the boxes ``(..., 4)`` float32 (left, top, right, bottom) of places, pixels."""
        corner = self._corner(where)
        return torch.cat([corner, corner + self.side_px], dim=-1)

    def _corner(self, where: Tensor) -> Tensor:
        """Return the upper left corners ``(..., 2)`` of places, pixels."""
        corner = where * self.span_px
        return corner.floor() if self.whole_pixels else corner

    def check(self, where: Tensor) -> None:
        """Check that places ``(..., 2)`` are in [0, 1].

        Raises:
            ValueError: If they are not.
        """
        check_centers(where)

    def crop(self, frames: Tensor, options: Tensor) -> Tensor:
        """Cut one box out of each frame, interpolated between pixels.

        Gradients flow to the frames and to the centres.

        Args:
            frames: ``(M, 3, S, S)`` of a floating dtype, such as `Encoder.prepare` returns.
            options: ``(M, 2)`` float, centres (x, y) in [0, 1].

        Returns:
            ``(M, 3, P, P)``, same dtype.

        Raises:
            ValueError: If the frames are not S×S or of integers, or there is not a centre in
                [0, 1] for each.

        Source: AdaFocusV2 (arXiv:2112.14238) section 3.2. One pixel of the box is as wide as one
            of the frame, so that all pixels of a box have the same four weights: the box is cut
            out one pixel larger, and interpolated along one axis and then along the other. It is
            what ``affine_grid`` and ``grid_sample`` give with ``align_corners=False``.
        """
        check_frames(frames, self.frame_px)
        if not frames.is_floating_point():
            raise ValueError(
                f"frames must be of a floating dtype, to be interpolated; got {frames.dtype}: call "
                "`Encoder.prepare` first"
            )
        self.check(options)
        if len(options) != len(frames):
            raise ValueError(
                f"expected a centre for each of {len(frames)} frames; got {len(options)}"
            )
        if not self.span_px:
            return frames + 0 * options.sum()  # every place is the whole frame
        # Halves are too coarse for pixels; doubles stay doubles.
        dtype = torch.promote_types(options.dtype, torch.float32)
        corner = self._corner(options.to(dtype))  # (M, 2)
        first = corner.detach().floor().clamp(max=self.span_px - 1)
        rest = (corner - first).to(frames.dtype)[:, :, None, None, None]  # (M, 2, 1, 1, 1)
        p = self.side_px + 1
        larger = [
            frame[top : top + p, left : left + p]
            for frame, (left, top) in zip(
                frames.permute(0, 2, 3, 1), first.long().tolist(), strict=True
            )
        ]
        if not larger:
            return frames[:, :, : self.side_px, : self.side_px]
        pixels = torch.stack(larger)  # (M, P + 1, P + 1, 3)
        rows = torch.lerp(pixels[:, :-1], pixels[:, 1:], rest[:, 1])  # (M, P, P + 1, 3)
        return torch.lerp(rows[:, :, :-1], rows[:, :, 1:], rest[:, 0]).permute(0, 3, 1, 2)

    def crop_all(self, frames: Tensor) -> Tensor:
        """Cut the central box, also between pixels, out of each frame: ``(M, 1, 3, P, P)``."""
        where = torch.full((len(frames), 2), 0.5, device=frames.device)
        return self.crop(frames, where)[:, None]
