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


def check_centers(centers: Tensor) -> None:
    """Check that centres ``(..., 2)`` of boxes are floating, and in [0, 1].

    Raises:
        ValueError: If they are not.
    """
    if not centers.is_floating_point() or centers.ndim < 1 or centers.shape[-1] != 2:
        raise ValueError(
            f"centres of boxes must be floating (..., 2), x and y; got {centers.dtype} "
            f"{tuple(centers.shape)}"
        )
    if centers.numel() and not (centers.min() >= 0 and centers.max() <= 1):
        raise ValueError(
            "centres of boxes must be in [0, 1], from where a box touches one edge of the "
            f"frame to where it touches the other; got {float(centers.min()):g} to "
            f"{float(centers.max()):g}"
        )
