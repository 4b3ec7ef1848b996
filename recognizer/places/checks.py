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


def check_centers(centers: Tensor, axes: str = "xy") -> None:
    """Check that centres of boxes ``(..., 2)``, or of cubes, are floating, and in [0, 1].

    Args:
        centers: ``(..., len(axes))``.
        axes: Their names, a letter each.

    Raises:
        ValueError: If they are not.
    """
    what = "boxes" if axes == "xy" else "cubes"
    if not centers.is_floating_point() or centers.ndim < 1 or centers.shape[-1] != len(axes):
        raise ValueError(
            f"centres of {what} must be floating (..., {len(axes)}), {' and '.join(axes)}; got "
            f"{centers.dtype} {tuple(centers.shape)}"
        )
    if centers.numel() and not (centers.min() >= 0 and centers.max() <= 1):
        raise ValueError(
            f"centres of {what} must be in [0, 1], from where one touches an edge to where it "
            f"touches the opposite one; got {float(centers.min()):g} to {float(centers.max()):g}"
        )
