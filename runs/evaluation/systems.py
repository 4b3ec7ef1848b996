"""What a system did in the videos of a split: as other policies, and which options it used."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...agents import TaskTrace
from ...feature_cache import FeatureCache
from ...recognizer import confidence
from .measures import gmacs_of, measures
from .trace import Played, all_labels


def played_of(trace: TaskTrace, cache: FeatureCache) -> Played:
    """Return a trace as what a policy did: a column per look, held after the end of a video.

    Frames kept are then the share of a video's T segments that f_L has read.
    """
    labels = all_labels(cache, trace.videos)
    predictions = trace.logits.argmax(dim=-1)
    return Played(
        names=cache.videos["name"].to_numpy()[trace.videos].astype(np.str_),
        labels=cache.labels[trace.videos].numpy().astype(np.int64),
        predictions=predictions.numpy(),
        correct=cache.label_matrix[trace.videos].gather(1, predictions).numpy(),
        confidences=confidence(trace.logits, labels).float().numpy(),
        options=trace.options,
        attended=trace.attended,
        gmacs=trace.gmacs,
    )


def usage_of(trace: TaskTrace, cache: FeatureCache) -> dict[str, float]:
    """Return the share of all segments that each option group has read, by its name."""
    total = trace.attended.size
    shares = {}
    for each in cache.opened:
        last = each.first + each.group.places.n_options
        inside = (trace.options >= each.first) & (trace.options < last) & trace.attended
        shares[each.group.name] = float(inside.sum() / total)
    return shares


def system_results(name: str, trace: TaskTrace, cache: FeatureCache) -> dict[str, Any]:
    """Return what is reported of a system.

    Args:
        name: Of the row.
        trace: What it did.
        cache: On which.

    Returns:
        ``test``, as of other policies; ``usage``, see `usage_of`; ``segments``, the share of the
        videos in which each of the T segments was read; ``decisions`` per video; and the number of
        videos that had read 0, 1, …, T segments at their end, ``read``.
    """
    played = played_of(trace, cache)
    row = measures(name, trace.logits, all_labels(cache, trace.videos), played.attended)
    steps = np.arange(cache.steps)
    by_segment = (trace.segments[..., None] == steps) & trace.attended[..., None]
    return {
        "test": row | gmacs_of(played),
        "usage": usage_of(trace, cache),
        "segments": by_segment.any(axis=1).mean(axis=0).tolist(),
        "decisions": float(trace.decisions.mean()),
        "read": np.bincount(trace.attended.sum(axis=1), minlength=cache.steps + 1).tolist(),
    }
