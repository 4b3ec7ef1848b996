"""Cubes at any place of a video: which frames they hold, what is cut out, and the gradient."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..limits import check_side
from .boxes import Boxes
from .checks import check_centers


@dataclass(frozen=True)
class Cubes:
    """Cubes of P×P pixels and F frames at any place of a video of T frames.

    A cube is named by its centre (x, y, t) in [0, 1]³: along each axis 0 is where the cube touches
    the left, upper or first end of the video, and 1 where it touches the other one, so that every
    cube lies in the video. A cube is cut out at whole pixels and whole frames, the nearest ones.

    Attributes:
        frame_px: Frame side S, pixels.
        side_px: Side P of the cubes, and of what an encoder reads, pixels, at most S.
        steps: T, frames of a video.
        frames: F, frames of a cube (T′ in the paper), at most T.
        kind: Which places these are, for descriptions.

    Raises:
        ValueError: If the cube does not fit into the video.

    Source: AdaFocusV3 (arXiv:2209.13465) section 3.1.
    """

    frame_px: int
    side_px: int
    steps: int
    frames: int = 1
    kind: str = field(default="cubes", init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the cubes fit."""
        check_side(self.frame_px)
        if not 0 < self.side_px <= self.frame_px:
            raise ValueError(
                f"the side of a cube must be in 1..{self.frame_px} (the frame side); got "
                f"{self.side_px}: choose a smaller cube or a larger frame"
            )
        if not 0 < self.frames <= self.steps:
            raise ValueError(
                f"a cube must have 1..{self.steps} frames (those of the video); got {self.frames}: "
                "choose a shorter cube, or take more frames"
            )

    @property
    def name(self) -> str:
        """Name of these places, such as ``cubes128x1``."""
        return f"cubes{self.side_px}x{self.frames}"

    @property
    def span_px(self) -> int:
        """S − P: how far a cube can be moved along an axis of the frame, pixels."""
        return self.frame_px - self.side_px

    @property
    def span_frames(self) -> int:
        """T − F: how far a cube can be moved in time, frames."""
        return self.steps - self.frames

    def check(self, where: Tensor) -> None:
        """Check that centres ``(..., 3)`` are in [0, 1].

        Raises:
            ValueError: If they are not.
        """
        check_centers(where, "xyt")

    def boxes_at(self, where: Tensor) -> Tensor:
        """Return the boxes ``(..., 4)`` int64 (left, top, right, bottom) of cubes, pixels."""
        corner = (where[..., :2] * self.span_px).round().long()
        return torch.cat([corner, corner + self.side_px], dim=-1)

    def frames_at(self, where: Tensor, *, distinct: bool = False) -> Tensor:
        """Return the frames that cubes hold.

        Args:
            where: ``(B, D, 3)`` centres of the D cubes of each video, the first one first.
            distinct: Remove the frames of a cube before the next one takes its own: those that
                are next to each other among the frames that are left, and nearest in time. Where
                the D cubes have more than T frames together, nothing is removed.

        Returns:
            ``(B, D, F)`` int64, in ascending order.

        Source: AdaFocusV3 (arXiv:2209.13465) section 4.1: frames of previous cubes are removed in
            inference. What a cube of several frames becomes is ours.
        """
        batch, n_cubes = where.shape[:2]
        first = (where[..., 2] * self.span_frames).detach()  # (B, D), between frames
        own = torch.arange(self.frames, device=where.device)
        if not distinct or n_cubes * self.frames > self.steps:
            return first.round().long()[..., None] + own
        middles = first + (self.frames - 1) / 2
        left = torch.arange(self.steps, device=where.device).expand(batch, -1)  # (B, frames left)
        cube_frames = []
        for d in range(n_cubes):
            windows = left.unfold(1, self.frames, 1)  # (B, W, F): what may be taken
            gaps = (windows.double().mean(dim=-1) - middles[:, d, None]).abs()
            at = gaps.argmin(dim=1)  # (B,)
            cube_frames.append(
                windows.gather(1, at[:, None, None].expand(-1, 1, self.frames))[:, 0]
            )
            position = torch.arange(left.shape[1], device=where.device)
            kept = (position < at[:, None]) | (position >= at[:, None] + self.frames)
            left = left[kept].view(batch, -1)
        return torch.stack(cube_frames, dim=1)

    def crop(self, videos: Tensor, where: Tensor, frames: Tensor) -> Tensor:
        """Cut cubes out of videos, at whole pixels; no gradient goes to the centres.

        Args:
            videos: ``(B, T, 3, S, S)``, any dtype.
            where: ``(B, D, 3)`` centres.
            frames: ``(B, D, F)`` from `frames_at`.

        Returns:
            ``(B, D, F, 3, P, P)``: a copy, same dtype.

        Raises:
            ValueError: If the videos are not T frames S×S, or the centres are not in [0, 1].
        """
        self.check_videos(videos)
        self.check(where)
        return _cut(videos, self.boxes_at(where)[..., :2], frames, self.side_px)

    def crop_larger(self, videos: Tensor, where: Tensor, more_px: int) -> tuple[Tensor, Tensor]:
        """Cut larger cubes out around the same places: one frame longer, and some pixels wider.

        A larger cube has the place in its centre; at an edge of the frame it is moved into it. Its
        frames are those around the cube's place in time. Where F is T there is no frame more.

        Args:
            videos: See `crop`.
            where: ``(B, D, 3)`` centres.
            more_px: By which the side is larger.

        Returns:
            ``(B, D, F + 1, 3, P + more, P + more)``, same dtype; and where the cubes are in them,
            ``(B, D, 3)`` float32 along (x, y, t): from 0, at their begin, to 1, at their end.

        Raises:
            ValueError: As `crop`, or if the frame is smaller than the larger cubes.

        Source: AdaFocusV3 (arXiv:2209.13465) section 3.3.
        """
        self.check_videos(videos)
        self.check(where)
        if self.side_px + more_px > self.frame_px:
            raise ValueError(
                f"a cube of {self.side_px} px and {more_px} px around it do not fit into a frame "
                f"of {self.frame_px} px: choose a smaller cube"
            )
        where = where.detach()
        corners = self.boxes_at(where)[..., :2]  # (B, D, 2)
        moved = (corners - more_px // 2).clamp(0, self.span_px - more_px)
        n = min(self.frames + 1, self.steps)
        first = where[..., 2] * self.span_frames  # (B, D), between frames
        begin = first.floor().long().clamp(max=self.steps - n)
        frames = begin[..., None] + torch.arange(n, device=where.device)
        offset = torch.cat([(corners - moved) / more_px, (first - begin)[..., None]], dim=-1)
        return _cut(videos, moved, frames, self.side_px + more_px), offset

    def crop_between(self, prepared: Tensor, where: Tensor) -> Tensor:
        """Cut cubes out between pixels and frames; the gradient goes to the centres.

        Args:
            prepared: See `crop`, of a floating dtype, such as `Encoder.prepare` returns.
            where: ``(B, D, 3)`` centres.

        Returns:
            ``(B, D, F, 3, P, P)``.

        Source: AdaFocusV3 (arXiv:2209.13465) Eq. 2–4: trilinear interpolation of pixels.
        """
        self.check_videos(prepared)
        self.check(where)
        batch, n_cubes = where.shape[:2]
        boxes = Boxes(self.frame_px, self.side_px)
        n = min(self.frames + 1, self.steps)
        place = where[..., 2] * self.span_frames  # (B, D)
        first = place.detach().floor().long().clamp(max=self.steps - n)
        frames = first[..., None] + torch.arange(n, device=where.device)  # (B, D, F + 1)
        rows = torch.arange(batch, device=where.device)[:, None, None]
        images = prepared[rows, frames].flatten(0, 2)  # (B·D·(F + 1), 3, S, S)
        in_frames = where[..., None, :2].expand(-1, -1, n, -1).flatten(0, 2)
        crops: Tensor = boxes.crop(images, in_frames).unflatten(0, (batch, n_cubes, n))
        if n == self.frames:
            return crops
        rest = (place - first)[..., None, None, None, None]
        between: Tensor = torch.lerp(crops[:, :, :-1], crops[:, :, 1:], rest)
        return between

    def check_videos(self, prepared: Tensor) -> None:
        """Check that videos are ``(B, T, 3, S, S)``.

        Raises:
            ValueError: If they are not.
        """
        expected = (self.steps, 3, self.frame_px, self.frame_px)
        if prepared.ndim != 5 or tuple(prepared.shape[1:]) != expected:
            raise ValueError(
                f"videos must be (B, {', '.join(map(str, expected))}); got "
                f"{tuple(prepared.shape)}: take as many frames as the cubes are for, of their side"
            )


def _cut(videos: Tensor, corners: Tensor, frames: Tensor, side_px: int) -> Tensor:
    """Return ``(B, D, F, 3, side, side)``: slices of frames ``(B, D, F)`` at corners (x, y)."""
    batch, n_cubes, n = frames.shape
    pixels = videos.permute(0, 1, 3, 4, 2)  # (B, T, S, S, 3)
    cut = [
        pixels[b, t, y : y + side_px, x : x + side_px]
        for b, (of_cubes, at) in enumerate(zip(frames.tolist(), corners.tolist(), strict=True))
        for of_cube, (x, y) in zip(of_cubes, at, strict=True)
        for t in of_cube
    ]
    if not cut:
        return videos.new_empty(batch, n_cubes, n, 3, side_px, side_px)
    stacked: Tensor = torch.stack(cut).permute(0, 3, 1, 2).unflatten(0, (batch, n_cubes, n))
    return stacked
