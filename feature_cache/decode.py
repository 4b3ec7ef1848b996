"""From a video file to the frames that the encoders see."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import decord
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from ..recognizer import FocusgymError


class VideoError(FocusgymError):
    """A video cannot be read; the message names the file."""


@dataclass(frozen=True)
class FrameConfig:
    """Which frames of a video are taken, and how they become S×S.

    Attributes:
        steps: T, frames taken per video.
        frame_px: Side S of the centre crop, pixels.
        resize_px: Length to which the short side is resized first (bilinear, anti-aliased),
            pixels; None leaves frames that are S×S as they are.

    Raises:
        ValueError: If a size is not positive, or the resized side is smaller than the crop.
    """

    steps: int
    frame_px: int
    resize_px: int | None = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        if self.steps < 1 or self.frame_px < 1:
            raise ValueError(
                f"steps and frame_px must be positive; got {self.steps}, {self.frame_px}"
            )
        if self.resize_px is not None and self.resize_px < self.frame_px:
            raise ValueError(
                f"resize_px must be at least frame_px={self.frame_px}; got {self.resize_px}"
            )


def sample_frames(n_frames: int, steps: int) -> NDArray[np.int64]:
    """Return the indices ``(T,)`` of the frames that stand for a video: one per equal segment.

    ``int(tick/2 + tick*k)`` with ``tick = n_frames / steps``, the middle of segment k; where the
    video is shorter than T frames, some indices repeat.

    Source: the released AdaFocus code's rule for validation, used here for every split.
    """
    tick = n_frames / steps
    return (tick / 2 + tick * np.arange(steps)).astype(np.int64)


def read_frames(
    path: str | os.PathLike[str], config: FrameConfig
) -> tuple[Tensor, NDArray[np.int64]]:
    """Decode the sampled frames of one video.

    Args:
        path: A video file.
        config: Which frames, and how large.

    Returns:
        ``(T, 3, S, S)`` uint8 and the frame indices ``(T,)``.

    Raises:
        VideoError: If the file is missing, empty, damaged or no video, or if its frames are not
            S×S and no ``resize_px`` is given.
    """
    if not os.path.isfile(path):
        raise VideoError(f"{path}: no such video file: check the path in the list")
    try:
        # A frame that cannot be decoded is an error: by default decord repeats its neighbour.
        reader = decord.VideoReader(str(path), num_threads=1, fault_tol=0)
        indices = sample_frames(len(reader), config.steps)
        pixels = reader.get_batch(indices).asnumpy()
    except (
        decord.DECORDError,
        decord.DECORDLimitReachedError,
        RuntimeError,
        AssertionError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise VideoError(
            f"{path} cannot be decoded ({reason}): replace the file, or take it off the list"
        ) from error
    frames = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (T, 3, height, width)
    side = config.frame_px
    if config.resize_px is not None:
        frames = transforms.resize(frames, [config.resize_px], antialias=True)
        frames = transforms.center_crop(frames, [side, side])
    elif tuple(frames.shape[2:]) != (side, side):
        raise VideoError(
            f"{path}: frames are {frames.shape[3]}×{frames.shape[2]} px, expected {side}×{side}: "
            "set resize_px"
        )
    return frames.contiguous(), indices


def read_many(
    paths: Iterable[str], config: FrameConfig
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Decode videos in order, a few ahead of the consumer, on all cores (decord drops the GIL)."""
    workers = os.cpu_count() or 1
    remaining = iter(paths)
    with ThreadPoolExecutor(workers) as pool:
        ahead = [pool.submit(read_frames, path, config) for path in islice(remaining, 2 * workers)]
        while ahead:
            frames = ahead.pop(0).result()
            ahead += [pool.submit(read_frames, path, config) for path in islice(remaining, 1)]
            yield frames
