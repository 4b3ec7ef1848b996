"""Where a policy looks on average, how it moves, when it skips, and how undecided it is."""

from __future__ import annotations

import math
from typing import Any

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


def path_px(boxes_px: NDArray[Any], attended: NDArray[np.bool_]) -> float | None:
    """Return how far a look is from the one before it in its video, on average, in pixels.

    Frames that were skipped in between do not count as looks; None where no video has two looks.

    Args:
        boxes_px: ``(B, T, 4)`` (left, top, right, bottom), of one size.
        attended: ``(B, T)`` bool.
    """
    row, step = np.nonzero(attended)  # in the order of the videos, then of the frames
    corner = boxes_px[row, step, :2]  # boxes have one size: corners move as centres do
    same_video = row[1:] == row[:-1]
    moves = np.linalg.norm(np.diff(corner, axis=0), axis=1)[same_video]
    return float(moves.mean()) if len(moves) else None


def random_path_px(boxes_px: NDArray[np.int64]) -> float:
    """Return what `path_px` is expected to be where options are drawn uniformly, in pixels."""
    corner = boxes_px[:, :2]
    return float(np.linalg.norm(corner[:, None] - corner[None], axis=-1).mean())


def random_box_path_px(span_px: float) -> float:
    """Return what `path_px` is expected to be where boxes are put at random, in pixels.

    It is the mean distance of two points that are uniform in a square of side ``span_px``, which is
    how far a box can be moved along an axis.
    """
    root = math.sqrt(2)
    return span_px * (2 + root + 5 * math.log(1 + root)) / 15


def coverage(
    boxes_px: NDArray[Any], attended: NDArray[np.bool_], frame_px: int, n_cells: int
) -> NDArray[np.float64]:
    """Return how many of the looks cover each cell of the frame; zeros where none was made.

    A look counts for a cell with the share of the cell that its box covers: boxes may end between
    pixels, and between cells.

    Args:
        boxes_px: ``(..., 4)`` (left, top, right, bottom), pixels.
        attended: ``(...)`` bool.
        frame_px: S.
        n_cells: n, the cells along each side.

    Returns:
        ``(n, n)``: shares of the looks, rows from top to bottom.
    """
    left, top, right, bottom = boxes_px[attended].astype(np.float64).T  # (L,) each
    edges = np.linspace(0, frame_px, n_cells + 1)

    def shares(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
        return inside.clip(min=0) * n_cells / frame_px  # (L, n)

    down, across = shares(top, bottom), shares(left, right)
    covered: NDArray[np.float64] = down.T @ across / max(1, len(left))
    return covered


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
