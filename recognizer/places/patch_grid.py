"""Where the patches are: the one place in which patch coordinates are computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..limits import MOST_OPTIONS, check_side
from .checks import check_centers, check_frames
from .indexed import IndexedPlaces


@dataclass(frozen=True)
class PatchGrid(IndexedPlaces):
    """The options of a frame: an n×n grid of square patches of one size.

    Option ``n*row + col`` has its top-left corner at ``(row, col) * (S - P) // (n - 1)``
    pixels, so the first and the last option of an axis touch the frame's edges.

    Attributes:
        frame_px: Frame side S, pixels.
        patch_px: Patch side P, pixels, at most S.
        n: Options per axis, at least 2 and at most S - P + 1; K = n².
        kind: Which places these are, for descriptions.

    Raises:
        ValueError: If the patch does not fit into the frame, n < 2, or boxes would be equal.

    Source: AdaFocus (arXiv:2105.03245) section 3.1: candidates "uniformly distributed across
    the images", 49 in the experiments. The integer form equals ``floor(i/(n-1) * (S - P))``.
    """

    plural: ClassVar[str] = "patches"
    is_whole: ClassVar[bool] = False
    crops_integers: ClassVar[bool] = True

    frame_px: int
    patch_px: int
    n: int = 7
    kind: str = field(default="patches", init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the patches fit, each in a place of its own."""
        check_side(self.frame_px)
        if not 0 < self.patch_px <= self.frame_px:
            raise ValueError(
                f"patch_px must be in 1..{self.frame_px} (the frame side); got {self.patch_px}: "
                "choose a smaller patch or a larger frame"
            )
        if self.n < 2:
            raise ValueError(f"a patch grid needs n >= 2 options per axis; got n={self.n}")
        places, largest_px = self.frame_px - self.patch_px + 1, self.frame_px - self.n + 1
        if self.n > places:
            choices = [f"at most {places} options per axis"] if places >= 2 else []
            choices += [f"a patch of at most {largest_px} px"] if largest_px >= 1 else []
            raise ValueError(
                f"a patch of {self.patch_px} px has {places} different "
                f"place{'s' if places > 1 else ''} per axis in a frame of {self.frame_px} px; got "
                f"n={self.n} options per axis, of which some would be equal: choose "
                f"{' or '.join(choices) or 'a smaller patch and fewer options'}"
            )
        if self.n**2 > MOST_OPTIONS:
            raise ValueError(f"a patch grid has at most {MOST_OPTIONS} options; got {self.n}²")

    @property
    def name(self) -> str:
        """Name of this grid as an option group, such as ``p128_7x7``."""
        return f"p{self.patch_px}_{self.n}x{self.n}"

    @property
    def side_px(self) -> int:
        """Side of what an encoder reads, pixels: P."""
        return self.patch_px

    @property
    def grid(self) -> PatchGrid:
        """This grid."""
        return self

    @property
    def n_options(self) -> int:
        """K, the number of options."""
        return self.n * self.n

    @cached_property
    def offsets_px(self) -> tuple[int, ...]:
        """Offsets of the n options along one axis, pixels."""
        span_px = self.frame_px - self.patch_px
        return tuple(i * span_px // (self.n - 1) for i in range(self.n))

    @cached_property
    def boxes_px(self) -> NDArray[np.int64]:
        """Boxes ``(K, 4)`` as (left, top, right, bottom), pixels; right and bottom exclusive."""
        offsets = np.asarray(self.offsets_px, dtype=np.int64)
        top, left = (axis.ravel() for axis in np.meshgrid(offsets, offsets, indexing="ij"))
        return np.stack([left, top, left + self.patch_px, top + self.patch_px], axis=1)

    def nearest(self, centers_px: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the option whose centre is nearest to each point.

        Args:
            centers_px: ``(..., 2)`` points as (x, y), pixels; may lie outside the frame.

        Returns:
            ``(...)`` int64 indices in ``[0, K)``; ties go to the smaller offset.
        """
        candidates = np.asarray(self.offsets_px) + self.patch_px / 2
        cell = np.abs(np.asarray(centers_px)[..., None] - candidates).argmin(axis=-1)
        index: NDArray[np.int64] = cell[..., 1] * self.n + cell[..., 0]
        return index

    def around(self, centers: Tensor) -> tuple[Tensor, Tensor]:
        """Return the four options around boxes at any place, and how much each counts.

        The weights are those of bilinear interpolation between the options' places, differentiable
        with respect to the centres: where a box is an option's, that option alone counts.

        Args:
            centers: ``(..., 2)`` floating (x, y) in [0, 1]; see `Boxes`.

        Returns:
            ``(..., 4)`` int64 options; ``(..., 4)`` weights, which sum to 1: float32, or float64
            for centres that are.

        Raises:
            ValueError: If a centre is not in [0, 1].

        Source: ours, for features that are stored on a grid; AdaFocusV2 (arXiv:2112.14238) section
            3.2 interpolates pixels.
        """
        check_centers(centers)
        # Halves are too coarse for pixels; doubles stay doubles.
        centers = centers.to(torch.promote_types(centers.dtype, torch.float32))
        offsets = torch.tensor(self.offsets_px, dtype=centers.dtype, device=centers.device)
        corner = centers * (self.frame_px - self.patch_px)  # (..., 2)
        cell = torch.searchsorted(offsets, corner.detach().contiguous(), right=True) - 1
        cell = cell.clamp(0, self.n - 2)
        rest = (corner - offsets[cell]) / (offsets[cell + 1] - offsets[cell])
        x, y = cell.unbind(dim=-1)
        right, below = rest.unbind(dim=-1)
        first = y * self.n + x
        options = torch.stack([first, first + 1, first + self.n, first + self.n + 1], dim=-1)
        above, left = 1 - below, 1 - right
        weights = torch.stack([above * left, above * right, below * left, below * right], dim=-1)
        return options, weights

    def crop(self, frames: Tensor, options: Tensor) -> Tensor:
        """Cut one option out of each frame.

        Args:
            frames: ``(M, 3, S, S)``, any dtype.
            options: ``(M,)`` int64 indices in ``[0, K)``.

        Returns:
            ``(M, 3, P, P)``: a copy, same dtype.

        Raises:
            ValueError: If the frames are not S×S, or an index is outside the grid.
        """
        check_frames(frames, self.frame_px)
        self.check(options)
        p, boxes = self.patch_px, self.boxes_px[options.cpu().numpy()]
        # Slices are copied row by row: thirty times as fast as gathering by indices.
        patches = [
            frame[:, top : top + p, left : left + p]
            for frame, (left, top, _, _) in zip(frames, boxes.tolist(), strict=True)
        ]
        return torch.stack(patches) if patches else frames[:, :, :p, :p]

    def crop_all(self, frames: Tensor) -> Tensor:
        """Cut all options out of each frame.

        Args:
            frames: ``(M, 3, S, S)``, any dtype.

        Returns:
            ``(M, K, 3, P, P)``: a copy, same dtype, channels last in memory.

        Raises:
            ValueError: If the frames are not S×S.
        """
        check_frames(frames, self.frame_px)
        p = self.patch_px
        nhwc = frames.permute(0, 2, 3, 1)
        crops = [nhwc[:, y : y + p, x : x + p] for y in self.offsets_px for x in self.offsets_px]
        return torch.stack(crops, dim=1).permute(0, 1, 4, 2, 3)
