"""From frames as they are decoded to what the encoders see: how large, and which part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .config import FrameConfig, middles

Box = tuple[int, int, int, int]


def evenly(n: int, parts: int) -> NDArray[np.int64]:
    """Return the middles of equal parts of n as an array ``(parts,)``; see `middles`."""
    return np.array(middles(n, parts), np.int64)


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
