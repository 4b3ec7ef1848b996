"""From a clip to the frames that the encoders see: which ones, how large, which part."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import FrameConfig, ahead, centre_crop, resize, resize_frames
from .clips import Clip, read_pixels, read_plainly
from .container import VideoError
from .sampling import AugmentConfig, View, draw_crop, draw_frames, sample_frames


def read_frames(
    clip: Clip, config: FrameConfig, augment: AugmentConfig | None = None, view: int = 0
) -> tuple[Tensor, View]:
    """Decode the frames that stand for a video.

    Args:
        clip: The video.
        config: Which frames, and how large.
        augment: Draw frames, crop and flip as for training; None takes the middles of equal
            segments and the central crop, as for testing.
        view: Which of the augmented copies.

    Returns:
        ``(T, 3, S, S)`` uint8, or ``(T, F, 3, S, S)`` where a segment has several frames, and what
        was taken.

    Raises:
        VideoError: If the video is missing, empty, damaged or no video, ends before it should, or
            if its frames are not S×S and no ``resize_px`` is given.
    """
    frames, taken, _ = read_told(clip, config, augment, view)
    return frames, taken


def read_told(
    clip: Clip, config: FrameConfig, augment: AugmentConfig | None = None, view: int = 0
) -> tuple[Tensor, View, str]:
    """Decode as `read_frames`, and also return what decoded: see `Pixels.decoder`."""
    rng = None

    def choose(first: int, n: int) -> NDArray[np.int64]:
        nonlocal rng
        if augment is None:
            return first + sample_frames(n, config).ravel()
        rng = augment.generator(clip.key, view)  # anew: a video may ask more than once
        return first + draw_frames(n, config, rng).ravel()

    pixels = read_pixels(clip, choose)
    frames = _resize(pixels.pictures, clip, config)
    height, width = frames.shape[2:]
    if rng is None or augment is None:
        crop, flipped = centre_crop(width, height, config.frame_px), False
    else:
        crop = draw_crop(width, height, rng)
        flipped = bool(rng.random() < 0.5) and augment.flip
    taken = View(pixels.indices.reshape(config.shape), crop, flipped)
    return _cut(frames, taken, config), taken, pixels.decoder


def read_view(clip: Clip, config: FrameConfig, view: View, *, plainly: bool = False) -> Tensor:
    """Decode again what was taken of a video.

    Args:
        clip: The video.
        config: How large its frames are.
        view: Which frames, which crop and whether mirrored.
        plainly: Decode from the first frame on, without an index: slower, and independent of how
            `read_frames` found the frames.

    Returns:
        Frames as `read_frames` returns them; raises as it does.
    """
    indices = view.frame_indices.ravel()
    if plainly:
        pictures = read_plainly(clip, indices)
    else:
        pictures = read_pixels(clip, lambda first, n: indices).pictures
    return _cut(_resize(pictures, clip, config), view, config)


def read_many(clips: Iterable[Clip], config: FrameConfig) -> Iterator[tuple[Tensor, View]]:
    """Decode videos in order, ahead of the consumer, on all cores (decoders drop the GIL)."""
    return ahead(lambda clip: read_frames(clip, config), clips, os.cpu_count() or 1)


def _resize(pixels: NDArray[np.uint8], clip: Clip, config: FrameConfig) -> Tensor:
    """Return ``(T·F, 3, height, width)`` with the short side at ``resize_px``."""
    try:
        return resize_frames(torch.from_numpy(pixels).permute(0, 3, 1, 2), config)
    except ValueError as error:
        height, width = pixels.shape[1:3]
        side = config.frame_px
        raise VideoError(
            f"{clip.path}: its frames are {width}×{height} px, expected {side}×{side}, for they "
            "are not resized here: give videos of that size, or a cache or a recognizer that was "
            "made with resizing (--resize)"
        ) from error


def _cut(frames: Tensor, view: View, config: FrameConfig) -> Tensor:
    """Return the crop of each frame, mirrored if the view says so, shaped as `read_frames` does."""
    left, top, right, bottom = view.crop_px
    side = config.frame_px
    cut = frames[:, :, top:bottom, left:right]
    if (right - left, bottom - top) != (side, side):
        cut = resize(cut, [side, side], config.resizer)
    seen = (cut.flip(-1) if view.flipped else cut).contiguous()
    frames_of_segments: Tensor = seen.unflatten(0, view.frame_indices.shape)
    return frames_of_segments
