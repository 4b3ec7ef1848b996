"""What the overview shows of a split: where policies look, how right they are, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...recognizer import Cost
from ..evaluation.measures import accuracy_interval
from ..evaluation.trace import Played
from .contract import Pair
from .gaze import Gaze


def describe_overview(pair: Pair) -> dict[str, Any]:
    """Return what the overview shows of the videos of a split, as JSON-able values."""
    classes = pair.footage.classes
    return {
        "n_videos": pair.n_split,
        "random_path_px": pair.random_path_px,
        "policies": [
            _where(gaze, came, classes) | _how_right(came, len(classes)) | _cost(cost, came)
            for gaze, came, cost in zip(pair.gazes, pair.played, pair.costs, strict=True)
        ],
    }


def _where(gaze: Gaze, played: Played, classes: Sequence[str]) -> dict[str, Any]:
    """Return where a policy looks on average, how it moves, skips, and how undecided it is."""
    of_class = {label: played.labels == label for label in np.unique(played.labels).tolist()}
    return {
        **gaze.map(),
        "classes": [
            {
                "name": classes[label],
                "videos": int(which.sum()),
                "looks": int(gaze.attended[which].sum()),
                "accuracy": float(played.correct[which, -1].mean()),
                "accuracy_interval": accuracy_interval(
                    float(played.correct[which, -1].mean()), int(which.sum())
                ),
                **gaze.rows(which).map(),
            }
            for label, which in of_class.items()
        ],
        "path_px": gaze.path_px,
        "path_px_by_class": {
            classes[label]: gaze.rows(which).path_px for label, which in of_class.items()
        },
        "skipped_by_step": (~gaze.attended).mean(axis=0).tolist(),
        **gaze.times(),
        **gaze.bits(),
    }


def _how_right(played: Played, n_classes: int) -> dict[str, Any]:
    """Return accuracies with 95 % intervals over videos, and which classes are taken for which."""
    by_step = played.accuracy_by_step.tolist()
    n_videos = len(played.labels)
    return {
        "accuracy_by_step": by_step,
        "accuracy_intervals_by_step": [accuracy_interval(each, n_videos) for each in by_step],
        "confusion": confusion(played, n_classes),
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


def _cost(cost: Cost, played: Played) -> dict[str, Any]:
    """Return the multiply-adds of a video so far, and at its end by network, on average."""
    return {
        "gmacs_by_step": played.gmacs_by_step.tolist(),
        "gmacs_by_network": asdict(cost),
        "kept_share": played.kept_share,
    }
