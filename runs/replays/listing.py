"""The list of all videos of a split: what two policies made of each, without pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.trace import Played
from .contract import Footage


def describe_listing(
    footage: Footage, videos: NDArray[np.int64], played: Sequence[Played]
) -> dict[str, Any]:
    """Return what the page needs to search, filter and sort videos, as columns.

    Args:
        footage: Where the videos are known.
        videos: ``(B,)`` rows of it.
        played: What each policy did in them.

    Returns:
        ``rows``, ``names`` and ``labels`` (lists of classes); and for each policy, after the last
        frame, ``predictions`` (classes), ``correct`` (0 or 1), ``confidences`` on the true label,
        and ``looks``, how many frames it looked at, or how many focal branches an AF network ran.
    """
    return {
        "rows": videos.tolist(),
        "names": [footage.name(int(video)) for video in videos],
        "labels": [footage.labels(int(video)) for video in videos],
        "policies": [
            {
                "predictions": each.predictions[:, -1].tolist(),
                "correct": each.correct[:, -1].astype(int).tolist(),
                "confidences": np.round(each.confidences[:, -1].astype(np.float64), 4).tolist(),
                "looks": each.attended.sum(axis=1).tolist(),
            }
            for each in played
        ],
    }
