"""Where a policy looks on average, how it moves, when it skips, and how undecided it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def heat(
    options: NDArray[np.int64], attended: NDArray[np.bool_], n_options: int
) -> NDArray[np.float64]:
    """Return the share ``(K,)`` of the looks that went to each option; zeros where none was made.

    Args:
        options: ``(B, T)`` in ``[0, K)``.
        attended: ``(B, T)`` bool; frames that were skipped do not count.
        n_options: K.
    """
    counts = np.bincount(options[attended], minlength=n_options)
    shares: NDArray[np.float64] = counts / max(1, counts.sum())
    return shares


def path_px(
    options: NDArray[np.int64], attended: NDArray[np.bool_], boxes_px: NDArray[np.int64]
) -> float | None:
    """Return how far a look is from the one before it in its video, on average, in pixels.

    Frames that were skipped in between do not count as looks; None where no video has two looks.

    Args:
        options: ``(B, T)`` in ``[0, K)``.
        attended: ``(B, T)`` bool.
        boxes_px: ``(K, 4)`` (left, top, right, bottom).
    """
    row, step = np.nonzero(attended)  # in the order of the videos, then of the frames
    corner = boxes_px[options[row, step], :2]  # boxes have one size: corners move as centres do
    same_video = row[1:] == row[:-1]
    moves = np.linalg.norm(np.diff(corner, axis=0), axis=1)[same_video]
    return float(moves.mean()) if len(moves) else None


def random_path_px(boxes_px: NDArray[np.int64]) -> float:
    """Return what `path_px` is expected to be where options are drawn uniformly, in pixels."""
    corner = boxes_px[:, :2]
    return float(np.linalg.norm(corner[:, None] - corner[None], axis=-1).mean())


def entropy_bits(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the entropy ``(...)`` of distributions ``(..., K)``, in bits: 0 to log2 K."""
    p = probabilities.astype(np.float64)
    bits: NDArray[np.float64] = -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=-1)
    return np.maximum(bits, 0.0)


def used_bits_by_step(
    options: NDArray[np.int64], attended: NDArray[np.bool_], n_options: int
) -> NDArray[np.float64]:
    """Return the entropy ``(T,)`` of how often the options are used in each frame, in bits.

    It is low where all videos are looked at in the same place, however sure the policy is of it.
    """
    steps = range(options.shape[1])
    return np.stack([entropy_bits(heat(options[:, t], attended[:, t], n_options)) for t in steps])
