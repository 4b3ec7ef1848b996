"""The list of all videos of a split: what two policies made of each, without pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...feature_cache import FeatureCache
from ..evaluation.trace import Played


def labels_of(cache: FeatureCache, video: int) -> list[int]:
    """Return the true classes of a row of the cache."""
    return [int(label) for label in str(cache.videos["labels"][video]).split(";")]


def describe_listing(
    cache: FeatureCache, videos: NDArray[np.int64], played: Sequence[Played]
) -> dict[str, Any]:
    """Return what the page needs to search, filter and sort videos, as columns.

    Args:
        cache: The feature cache.
        videos: ``(B,)`` rows of the cache.
        played: What each policy did in them.

    Returns:
        ``rows``, ``names`` and ``labels`` (lists of classes); and for each policy, after the last
        frame, ``predictions`` (classes), ``correct`` (0 or 1), ``confidences`` on the true label,
        and ``looks``, how many frames it looked at.
    """
    return {
        "rows": videos.tolist(),
        "names": [str(name) for name in cache.videos["name"].to_numpy()[videos]],
        "labels": [labels_of(cache, int(video)) for video in videos],
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
