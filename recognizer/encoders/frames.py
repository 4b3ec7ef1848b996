"""From frames as they are decoded to what the encoders see: how many, how large, which part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..limits import MOST_FRAMES, MOST_VIDEO_BYTES, check_side

SHORT_VIDEOS = ("repeat_last", "repeat_first")
RESIZERS = ("torchvision", "pillow")
ORDERS = ("video", "coarse_to_fine", "halving")
Box = tuple[int, int, int, int]
OfSegments = TypeVar("OfSegments", Tensor, NDArray[np.int64])


@dataclass(frozen=True)
class FrameConfig:
    """Which frames of a video are taken, and how they become S×S.

    A video has T segments of F frames each: T·F frames are taken evenly, and cut into segments in
    their order. Arrays of frames have an axis F behind the axis T where F is more than 1; a segment
    of one frame has none. Where f_G has frames of its own, they come first on that axis.

    Attributes:
        steps: T, segments taken per video: frames, where a segment is one.
        frame_px: Side S of the frames that the encoders see, pixels.
        resize_px: Length to which the short side is resized first (bilinear, anti-aliased),
            pixels; None leaves frames that are S×S as they are.
        short_videos: What fills the T places of a video with fewer frames: ``repeat_last`` (its
            frames, then the last one again) or ``repeat_first`` (the first one T times).
        resizer: What resizes: ``torchvision`` on tensors, or ``pillow``. They differ by one grey
            level in places: networks see best what they were trained on.
        segment_frames: F, frames of a segment. f_L reads all of them.
        glance_frames: How many of them f_G reads, in 1..F, spread evenly: the middle one for 1.
            None, which F becomes too, reads all.
        own_glance: Whether f_G reads ``glance_frames`` of its own in each segment instead, any
            number, taken evenly from the video as f_L's are.
        order: In which the segments are read: ``video``; or one whose every prefix is spread over
            the video, for predictions that may stop: `coarse_to_fine` or `halving`.

    Raises:
        ValueError: If a size is not positive, the resized side is smaller than the crop,
            ``short_videos``, ``resizer`` or ``order`` is unknown, or f_G is to read more frames
            than there are.

    Source: the released AdaFocus code: short side 256 by Pillow, centre crop 224; last frame
    repeated on ActivityNet, FCVID and Mini-Kinetics, first frame on Something-Something and Jester.
    AdaFocusV3 (arXiv:2209.13465) section 3.1: cubes of T′ frames out of those taken evenly; ours
    begin at every F-th of these frames, the paper's anywhere. AdaFocus (arXiv:2105.03245) section
    4.2: on Something-Something f_G reads 8 frames and f_L 12, which the released code takes
    independently of each other.
    """

    steps: int
    frame_px: int
    resize_px: int | None = None
    short_videos: str = "repeat_last"
    resizer: str = "torchvision"
    segment_frames: int = 1
    glance_frames: int | None = None
    order: str = "video"
    own_glance: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.segment_frames < 1:
            raise ValueError(
                f"segment_frames must be at least 1; got {self.segment_frames}: give 1 where a "
                "segment is one frame"
            )
        if self.own_glance:
            if self.glance_frames is None or self.glance_frames < 1:
                raise ValueError(
                    "own_glance needs glance_frames of at least 1, how many frames of a segment "
                    f"f_G reads; got {self.glance_frames}: give it, such as --glance-frames 8"
                )
        elif self.glance_frames == self.segment_frames:
            object.__setattr__(self, "glance_frames", None)
        elif self.glance_frames is not None and not 0 < self.glance_frames < self.segment_frames:
            raise ValueError(
                f"glance_frames must be in 1..{self.segment_frames}, the frames of a segment; got "
                f"{self.glance_frames}: leave it out to glance at all of them, or set own_glance, "
                "with which f_G has frames of its own"
            )
        if self.steps < 1 or self.frame_px < 1:
            raise ValueError(
                f"steps and frame_px must be positive; got {self.steps}, {self.frame_px}"
            )
        frames = self.steps * self.read_frames
        n_bytes = 3 * frames * self.frame_px**2
        if frames > MOST_FRAMES or n_bytes > MOST_VIDEO_BYTES:
            raise ValueError(
                f"at most {MOST_FRAMES} frames are read of a video, and {MOST_VIDEO_BYTES} bytes; "
                f"got {frames} frames of {self.frame_px} px: take fewer, or smaller ones"
            )
        check_side(max(self.frame_px, self.resize_px or 0))
        if self.resize_px is not None and self.resize_px < self.frame_px:
            raise ValueError(
                f"resize_px must be at least frame_px={self.frame_px}; got {self.resize_px}"
            )
        if self.short_videos not in SHORT_VIDEOS:
            raise ValueError(
                f"short_videos must be one of {', '.join(SHORT_VIDEOS)}; got {self.short_videos!r}"
            )
        if self.order not in ORDERS:
            raise ValueError(f"order must be one of {', '.join(ORDERS)}; got {self.order!r}")
        if self.resizer not in RESIZERS:
            raise ValueError(f"resizer must be one of {', '.join(RESIZERS)}; got {self.resizer!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of arrays of frames: ``(T,)``, or ``(T, F)`` where a segment has several frames."""
        return (self.steps,) if self.read_frames == 1 else (self.steps, self.read_frames)

    @property
    def read_frames(self) -> int:
        """Frames of a segment in arrays: F, and those that f_G has for itself."""
        return self._own + self.segment_frames

    @property
    def counts(self) -> tuple[int, ...]:
        """Of how many frames of a segment each set is that is taken evenly from the video."""
        return (self._own, self.segment_frames) if self._own else (self.segment_frames,)

    @property
    def segments(self) -> tuple[int, ...]:
        """The T segments in the order in which they are read, numbered as in the video."""
        if self.order == "video":
            return tuple(range(self.steps))
        return coarse_to_fine(self.steps) if self.order == "coarse_to_fine" else halving(self.steps)

    @property
    def glanced(self) -> tuple[int, ...]:
        """Which frames of a segment in arrays f_G reads, from 0."""
        if self._own:
            return tuple(range(self._own))
        n = self.glance_frames or self.segment_frames
        return tuple(evenly(self.segment_frames, n).tolist())

    def glance(self, frames: Tensor) -> Tensor:
        """Return the frames that f_G reads of segments.

        Args:
            frames: ``(..., F, 3, S, S)``, or ``(..., 3, S, S)`` where a segment is one frame.

        Returns:
            ``(..., len(glanced), 3, S, S)``; the frames as they are where f_G reads all.
        """
        if self.glance_frames is None:
            return frames
        return frames[..., list(self.glanced), :, :, :]

    def look(self, frames: Tensor) -> Tensor:
        """Return the F frames that f_L reads of segments; arguments as of `glance`."""
        return frames[..., self._own :, :, :, :] if self._own else frames

    def middle(self, values: OfSegments) -> OfSegments:
        """Return what belongs to the frame that stands for a segment in pictures and tables.

        Args:
            values: ``(M, F, ...)``, such as frames or their indices; ``(M, ...)`` where F is 1.

        Returns:
            ``(M, ...)``: of the middle one of the frames that f_L reads, the later one of two.
        """
        if self.read_frames == 1:
            return values
        return values[:, self._own + self.segment_frames // 2]

    def describe(self) -> dict[str, Any]:
        """Return the values, JSON-able, as manifests hold them.

        What says that a segment is one frame, and that they are in the video's order, is left out,
        as it was before there was anything else: the fingerprints of such caches stay as they are.
        """
        values = asdict(self)
        if not self._own:
            del values["own_glance"]
            if self.segment_frames == 1:
                del values["segment_frames"], values["glance_frames"]
        if self.order == "video":
            del values["order"]
        return values

    @property
    def _own(self) -> int:
        """How many frames of a segment f_G has for itself."""
        return self.glance_frames or 0 if self.own_glance else 0

    def for_any_size(self) -> FrameConfig:
        """Return how frames of any size become S×S; those that are S×S already stay as they are."""
        return self if self.resize_px is not None else replace(self, resize_px=self.frame_px)


def evenly(n: int, parts: int) -> NDArray[np.int64]:
    """Return ``(parts,)``: the middles of equal parts of n, ``int(tick/2 + tick*k)`` of part k.

    ``tick = n / parts``, which is at least 1.
    """
    tick = n / parts
    return (tick / 2 + tick * np.arange(parts)).astype(np.int64)


def coarse_to_fine(steps: int) -> tuple[int, ...]:
    """Return the T segments in an order that covers the video ever more densely.

    The middle segment first, then both ends, then again and again the middle of the longest gap;
    of equal gaps the one nearest to the centre. So every prefix is spread over the whole video.

    Args:
        steps: T.

    Source: FrameExit (arXiv:2104.13400), whose frames come coarse to fine: 5, 0, 9, 2, 7, 4, 6, 3,
        8, 1 of ten. The rule is ours; it gives the same ten.
    """
    center = steps // 2
    order = list(dict.fromkeys([center, 0, steps - 1]))
    while len(order) < steps:
        known = sorted(order)
        gaps = [(high - low, round((low + high) / 2)) for low, high in pairwise(known)]
        order.append(max(gaps, key=lambda gap: (gap[0], -abs(gap[1] - center)))[1])
    return tuple(order)


def halving(steps: int) -> tuple[int, ...]:
    """Return the T segments in the order of AdaFocusV2: of ever shorter equal parts the middles.

    The middle segment first, then both ends, then the middles of both halves, of the four quarters,
    and so on, each from the video's begin to its end, all rounded down.

    Args:
        steps: T.

    Source: the released code of AdaFocusV2 (arXiv:2112.14238), whose 16 frames come in the order 7,
        0, 15, 3, 11, 1, 5, 9, 13, 2, 4, 6, 8, 10, 12, 14.
    """
    last, parts = steps - 1, 2
    order = list(dict.fromkeys([last // 2, 0, last]))
    while len(order) < steps:
        ends = [last * part // parts for part in range(parts + 1)]
        order += [(low + high) // 2 for low, high in pairwise(ends)]
        order = list(dict.fromkeys(order))
        parts *= 2
    return tuple(order)


def fit_frames(frames: Tensor, config: FrameConfig) -> Tensor:
    """Resize frames and take the central crop, as for testing.

    Args:
        frames: ``(M, 3, height, width)`` uint8, of any size.
        config: The side of the frames, and how they are resized and cropped.

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
