"""What a system did in the videos of a split: as other policies, and which options it used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...agents import TaskTrace
from ...envs.records.record import shown_options
from ...feature_cache import FeatureCache
from ...recognizer import confidence, measure
from .outcome import Outcome
from .trace import Played, all_labels, precision_of


def played_of(trace: TaskTrace, cache: FeatureCache) -> Played:
    """Return a trace as what a policy did: a column per look, held after the end of a video.

    Frames kept are then the share of a video's T segments that f_L has read. Before f_C is fed
    anything it predicts nothing: there ``correct`` is False, whatever the class that its zeros
    name, and ``confidences`` are those of its zeros.
    """
    labels = all_labels(cache, trace.videos)
    predictions = trace.logits.argmax(dim=-1)
    right = cache.label_matrix[trace.videos].gather(1, predictions).numpy()
    return Played(
        names=cache.videos["name"].to_numpy()[trace.videos].astype(np.str_),
        labels=cache.labels[trace.videos].numpy().astype(np.int64),
        predictions=predictions.numpy(),
        correct=right & _has_predicted(trace),
        confidences=confidence(trace.logits, labels).float().numpy(),
        options=shown_options(trace.options, trace.named),
        attended=trace.attended,
        gmacs=trace.gmacs,
        precision=precision_of(trace.logits[:, -1], labels),
    )


def outcome_of(trace: TaskTrace, cache: FeatureCache) -> Outcome:
    """Return what came of a trace.

    Before f_C is fed anything, the logits of the true labels are below the zeros of the others, so
    that what is predicted there counts as wrong.
    """
    hot, empty = cache.label_matrix[trace.videos], torch.from_numpy(~_has_predicted(trace))
    logits = trace.logits.masked_fill(hot[:, None] & empty[..., None], -1.0)
    return Outcome(played_of(trace, cache), logits, all_labels(cache, trace.videos))


def of_fed(trace: TaskTrace) -> TaskTrace:
    """Return the looks that f_C was fed alone, a column for each; then what was at the end.

    So column t is the prediction after t + 1 segments, and no video has any before its first. What
    a video costs up to a look includes the looks before it that f_C was not fed.
    """
    rows, steps = np.arange(len(trace.fed))[:, None], np.arange(trace.fed.shape[1])
    fed = steps < trace.fed.sum(axis=1, keepdims=True)  # (B, T)
    first = np.argsort(~trace.fed, axis=1, kind="stable")
    at = np.where(fed, first, steps[-1])
    return replace(
        trace,
        segments=np.where(fed, trace.segments[rows, at], -1),
        options=trace.options[rows, at],
        named=fed & trace.named[rows, at],
        attended=fed & trace.attended[rows, at],
        fed=fed,
        logits=trace.logits[torch.from_numpy(rows), torch.from_numpy(at)],
        gmacs=trace.gmacs[rows, at],
        boxes_px=None,
    )


def _has_predicted(trace: TaskTrace) -> NDArray[np.bool_]:
    """Return ``(B, T)``, whether f_C was fed anything up to and including each look."""
    return np.logical_or.accumulate(trace.fed, axis=1)


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
        name: Name of the row.
        trace: What the system did in the videos.
        cache: The cache that it was played on.

    Returns:
        ``test``, as of other policies, and a video that f_C was fed nothing of yet counts as wrong;
        ``usage``, see `usage_of`; ``segments``, the share of the videos in which each of the T
        segments was read; ``decisions`` per video; and the number of videos that had read 0, 1, …,
        T segments at their end, ``read``.
    """
    came = outcome_of(trace, cache)
    row = came.row(name)
    row["map_by_step"] = measure(trace.logits, came.labels).mean_average_precision
    steps = np.arange(cache.steps)
    by_segment = (trace.segments[..., None] == steps) & trace.attended[..., None]
    return {
        "test": row,
        "usage": usage_of(trace, cache),
        "segments": by_segment.any(axis=1).mean(axis=0).tolist(),
        "decisions": float(trace.decisions.mean()),
        "read": np.bincount(trace.attended.sum(axis=1), minlength=cache.steps + 1).tolist(),
    }
