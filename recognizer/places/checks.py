"""What every kind of places checks before it cuts frames."""

from __future__ import annotations

from torch import Tensor


def check_frames(frames: Tensor, frame_px: int) -> None:
    """Check that frames ``(M, 3, S, S)`` have the side that the places are for.

    Raises:
        ValueError: If they do not.
    """
    if frames.ndim != 4 or tuple(frames.shape[2:]) != (frame_px, frame_px):
        raise ValueError(
            f"frames must be (M, 3, {frame_px}, {frame_px}); got {tuple(frames.shape)}: "
            "preprocess the video to the frame side of the places first"
        )
