"""What the overview shows of a split: where policies look, how right they are, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...feature_cache import FeatureCache
from ..evaluation.measures import accuracy_interval
from ..evaluation.trace import Played
from .episodes import Decided, Looker
from .looks import entropy_bits, heat, path_px, random_path_px, used_bits_by_step


def describe_overview(
    lookers: Sequence[Looker],
    decided: Sequence[Decided],
    played: Sequence[Played],
    cache: FeatureCache,
) -> dict[str, Any]:
    """Return what the overview shows of B videos, as JSON-able values.

    Args:
        lookers: The policies.
        decided: What each decided in the videos.
        played: What came of it.
        cache: The feature cache.
    """
    return {
        "n_videos": len(played[0].labels),
        "random_path_px": random_path_px(cache.boxes_px),
        "policies": [
            _where(chosen, came, cache) | _how_right(came, cache) | _cost(looker, came)
            for looker, chosen, came in zip(lookers, decided, played, strict=True)
        ],
    }


def _where(decided: Decided, played: Played, cache: FeatureCache) -> dict[str, Any]:
    """Return where a policy looks on average, how it moves, skips, and how undecided it is."""
    options, attended, k = decided.options, decided.attended, cache.n_options
    boxes = cache.boxes_px
    of_class = {label: played.labels == label for label in np.unique(played.labels).tolist()}
    return {
        "heat": heat(options, attended, k).tolist(),
        "classes": [
            {
                "name": cache.classes[label],
                "videos": int(which.sum()),
                "looks": int(attended[which].sum()),
                "accuracy": float(played.correct[which, -1].mean()),
                "accuracy_interval": accuracy_interval(
                    float(played.correct[which, -1].mean()), int(which.sum())
                ),
                "heat": heat(options[which], attended[which], k).tolist(),
            }
            for label, which in of_class.items()
        ],
        "path_px": path_px(options, attended, boxes),
        "path_px_by_class": {
            cache.classes[label]: path_px(options[which], attended[which], boxes)
            for label, which in of_class.items()
        },
        "skipped_by_step": (~attended).mean(axis=0).tolist(),
        "entropy_bits_by_step": entropy_bits(decided.probabilities).mean(axis=0).tolist(),
        "used_bits_by_step": used_bits_by_step(options, attended, k).tolist(),
    }


def _how_right(played: Played, cache: FeatureCache) -> dict[str, Any]:
    """Return accuracies with 95 % intervals over videos, and which classes are taken for which."""
    by_step = played.accuracy_by_step.tolist()
    n_videos = len(played.labels)
    return {
        "accuracy_by_step": by_step,
        "accuracy_intervals_by_step": [accuracy_interval(each, n_videos) for each in by_step],
        "confusion": confusion(played, cache.n_classes),
    }


def confusion(played: Played, n_classes: int) -> list[list[int]]:
    """Return (true class, class predicted after the last frame, videos), where there are any.

    A video with several labels that is right counts for the label that was predicted, else for its
    first.

    Args:
        played: What a policy did.
        n_classes: C.
    """
    predicted = played.predictions[:, -1]
    true = np.where(played.correct[:, -1], predicted, played.labels)
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (true, predicted), 1)
    pairs: NDArray[np.int64] = np.argwhere(counts)
    return [[int(i), int(j), int(counts[i, j])] for i, j in pairs]


def _cost(looker: Looker, played: Played) -> dict[str, Any]:
    """Return the multiply-adds of a video so far, and at its end by network, on average."""
    steps, kept = played.attended.shape[1], played.kept_share
    cost = looker.cost.of_video(steps, policy=looker.agent.runs_policy, kept_share=kept)
    return {
        "gmacs_by_step": played.gmacs_by_step.tolist(),
        "gmacs_by_network": asdict(cost),
        "kept_share": kept,
    }
