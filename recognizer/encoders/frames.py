"""From frames as they are decoded to what the encoders see: how many, how large, which part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

SHORT_VIDEOS = ("repeat_last", "repeat_first")
RESIZERS = ("torchvision", "pillow")
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class FrameConfig:
    """Which frames of a video are taken, and how they become S×S.

    Attributes:
        steps: T, frames taken per video.
        frame_px: Side S of the frames that the encoders see, pixels.
        resize_px: Length to which the short side is resized first (bilinear, anti-aliased),
            pixels; None leaves frames that are S×S as they are.
        short_videos: What fills the T places of a video with fewer frames: ``repeat_last`` (its
            frames, then the last one again) or ``repeat_first`` (the first one T times).
        resizer: What resizes: ``torchvision`` on tensors, or ``pillow``. They differ by one grey
            level in places: networks see best what they were trained on.

    Raises:
        ValueError: If a size is not positive, the resized side is smaller than the crop, or
            ``short_videos`` or ``resizer`` is unknown.

    Source: the released AdaFocus code: short side 256 by Pillow, centre crop 224; last frame
    repeated on ActivityNet, FCVID and Mini-Kinetics, first frame on Something-Something and Jester.
    """

    steps: int
    frame_px: int
    resize_px: int | None = None
    short_videos: str = "repeat_last"
    resizer: str = "torchvision"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.steps < 1 or self.frame_px < 1:
            raise ValueError(
                f"steps and frame_px must be positive; got {self.steps}, {self.frame_px}"
            )
        if self.resize_px is not None and self.resize_px < self.frame_px:
            raise ValueError(
                f"resize_px must be at least frame_px={self.frame_px}; got {self.resize_px}"
            )
        if self.short_videos not in SHORT_VIDEOS:
            raise ValueError(
                f"short_videos must be one of {', '.join(SHORT_VIDEOS)}; got {self.short_videos!r}"
            )
        if self.resizer not in RESIZERS:
            raise ValueError(f"resizer must be one of {', '.join(RESIZERS)}; got {self.resizer!r}")

    def for_any_size(self) -> FrameConfig:
        """Return how frames of any size become S×S; those that are S×S already stay as they are."""
        return self if self.resize_px is not None else replace(self, resize_px=self.frame_px)


def fit_frames(frames: Tensor, config: FrameConfig) -> Tensor:
    """Resize frames and take the central crop, as for testing.

    Args:
        frames: ``(M, 3, height, width)`` uint8, of any size.
        config: How large.

    Returns:
        ``(M, 3, S, S)`` uint8.

    Raises:
        ValueError: If the frames are not S×S and no ``resize_px`` is given.
    """
    resized = resize_frames(frames, config)
    height, width = resized.shape[-2:]
    left, top, right, bottom = centre_crop(width, height, config.frame_px)
    return resized[..., top:bottom, left:right].contiguous()


def resize_frames(frames: Tensor, config: FrameConfig) -> Tensor:
    """Return frames ``(M, 3, height, width)`` uint8 with the short side at ``resize_px``.

    Raises:
        ValueError: If the frames are not S×S and no ``resize_px`` is given.
    """
    if config.resize_px is not None:
        return resize(frames, [config.resize_px], config.resizer)
    side = config.frame_px
    if tuple(frames.shape[-2:]) != (side, side):
        raise ValueError(
            f"frames are {frames.shape[-1]}×{frames.shape[-2]} px, expected {side}×{side}: set "
            "resize_px"
        )
    return frames


def resize(frames: Tensor, size: Sequence[int], resizer: str) -> Tensor:
    """Resize frames, bilinear and anti-aliased.

    Args:
        frames: ``(..., 3, height, width)`` uint8.
        size: The new height and width, pixels; or the new short side alone.
        resizer: As of `FrameConfig`.

    Returns:
        ``(..., 3, new height, new width)`` uint8, on the device of the frames.
    """
    from torchvision.transforms.v2 import functional as transforms

    if resizer == "torchvision":
        resized: Tensor = transforms.resize(frames, list(size), antialias=True)
        return resized
    pictures = [
        transforms.pil_to_tensor(transforms.resize(transforms.to_pil_image(frame), list(size)))
        for frame in frames.reshape(-1, *frames.shape[-3:]).cpu()
    ]
    stacked = torch.stack(pictures).to(frames.device)
    return stacked.reshape(*frames.shape[:-3], *stacked.shape[1:])


def centre_crop(width_px: int, height_px: int, side_px: int) -> Box:
    """Return the central square box; halves are rounded to even."""
    left, top = round((width_px - side_px) / 2), round((height_px - side_px) / 2)
    return left, top, left + side_px, top + side_px
