"""Which frames, which crop and which flip stand for a video: plain arithmetic and keyed draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...recognizer import Box, FrameConfig, Purpose, generator
from ...recognizer.encoders.frames import evenly

CROP_SCALES = (1.0, 0.875, 0.75, 0.66)


@dataclass(frozen=True)
class AugmentConfig:
    """Augmented copies of the training videos; a cache freezes them, so it can hold several.

    Attributes:
        views: V, copies of each training video, each with frames, a crop and a flip of its own.
        flip: Whether half of the copies are mirrored; off where left and right are labels.
        seed: Of all draws; each is keyed by seed, video and copy, so it does not depend on what
            else is in the list, nor on workers or shards.

    Raises:
        ValueError: If ``views`` is not positive or the seed is negative.
    """

    views: int
    flip: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.views < 1:
            raise ValueError(f"views must be at least 1; got {self.views}")
        if self.seed < 0:
            raise ValueError(f"the seed of the views must not be negative; got {self.seed}")

    def generator(self, key: str, view: int) -> np.random.Generator:
        """Return the generator of one copy of one video."""
        words = np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype="<u4")
        return generator(Purpose.VIEW, self.seed, view, *words.tolist())


@dataclass(frozen=True)
class View:
    """What was taken of a video.

    Attributes:
        frame_indices: ``(T,)`` int64, or ``(T, F)`` where a segment has several frames: frame i is
            the i-th, from 0, that a player shows.
        crop_px: (left, top, right, bottom) in the frame after its short side was resized, pixels.
        flipped: Whether it was mirrored left to right, after the crop.
    """

    frame_indices: NDArray[np.int64]
    crop_px: Box
    flipped: bool


def sample_frames(n_frames: int, config: FrameConfig) -> NDArray[np.int64]:
    """Return the indices of the frames that stand for a video: the middles of equal parts.

    ``int(tick/2 + tick*k)`` with ``tick = n_frames / (T·F)``, the middle of part k; the parts are
    the segments where a segment is one frame, else F parts in turn make a segment.

    Frames that f_G has for itself are taken in the same way, and come first in each segment.

    Args:
        n_frames: Frames of the video, at least 1.
        config: T and F, and what a shorter video does.

    Returns:
        ``(T,)``, or ``(T, F)``.

    Source: the released AdaFocus code's rule for validation. On Something-Something it takes the
        first frame T times also of a video with exactly T frames; here that one gives each frame.
    """
    return _segments(n_frames, config, lambda parts: evenly(n_frames, parts))


def draw_frames(n_frames: int, config: FrameConfig, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw indices ``(T,)`` or ``(T, F)``: one frame of each of T·F parts of equal length.

    A part has ``n_frames // (T·F)`` frames; F of them in turn make a segment. What is left over
    at the end of the video is never drawn.

    Source: the released AdaFocus code's rule for training.
    """

    def draw(parts: int) -> NDArray[np.int64]:
        length = n_frames // parts
        return np.arange(parts) * length + rng.integers(length, size=parts)

    return _segments(n_frames, config, draw)


def _segments(
    n_frames: int, config: FrameConfig, take: Callable[[int], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Return indices ``(T,)`` or ``(T, F)``, in the order of the config.

    Args:
        n_frames: Frames of the video.
        config: T, F, and what a video does that has fewer frames than it has parts.
        take: Gives one frame of each of so many parts of the video.
    """
    sets = []
    for count in config.counts:
        parts = config.steps * count
        indices = take(parts) if n_frames >= parts else _fill(n_frames, parts, config)
        sets.append(indices.reshape(config.steps, count))
    joined: NDArray[np.int64] = np.concatenate(sets, axis=1)  # (T, F)
    return joined.reshape(config.shape)[list(config.segments)]


def _fill(n_frames: int, parts: int, config: FrameConfig) -> NDArray[np.int64]:
    if config.short_videos == "repeat_first":
        return np.zeros(parts, dtype=np.int64)
    return np.minimum(np.arange(parts), n_frames - 1)


def draw_crop(width_px: int, height_px: int, rng: np.random.Generator) -> Box:
    """Draw a box of the multi-scale crop.

    Each side is the short side times one of `CROP_SCALES`, the two at most one scale apart; the
    place is one of 13: on the 5×5 raster of quarters of the free space, those whose row and column
    are both even or both odd.

    Source: the released AdaFocus code's training augmentation (that of temporal segment networks).
    """
    sides = [int(min(width_px, height_px) * scale) for scale in CROP_SCALES]
    scales = range(len(sides))
    pairs = [(sides[i], sides[j]) for i in scales for j in scales if abs(i - j) <= 1]
    width, height = pairs[rng.integers(len(pairs))]
    places = [(x, y) for x in range(5) for y in range(5) if x % 2 == y % 2]
    x, y = places[rng.integers(len(places))]
    left, top = x * ((width_px - width) // 4), y * ((height_px - height) // 4)
    return left, top, left + width, top + height
