"""Told at once: a stage that has learned nothing its validation videos could show."""

from __future__ import annotations

import torch
from torch import Tensor

from ..evaluation.measures import accuracy_interval


def chance_of(labels: Tensor) -> float:
    """Return how often who always names the most frequent class is right, in [0, 1].

    Of C classes that is 1/C at least.

    Args:
        labels: ``(N,)`` int64; or ``(N, C)`` bool, where videos have several.
    """
    counts = labels.sum(dim=0) if labels.dtype == torch.bool else labels.bincount()
    return float(counts.max()) / len(labels)


def chance_note(title: str, accuracy: float, labels: Tensor) -> str | None:
    """Return what is told of a stage whose accuracy may be chance; None where it is more.

    Args:
        title: Title of the stage.
        accuracy: On the validation videos, in [0, 1].
        labels: Of these videos; see `chance_of`.

    Returns:
        Two sentences, if the 95 % interval of the accuracy (Wilson's, over videos) reaches down to
        chance.
    """
    n, chance = len(labels), chance_of(labels)
    low, _ = accuracy_interval(accuracy, n)
    if low > chance:
        return None
    if chance == 1:
        what_to_do = "They are all of one class: give validation videos of every class."
    elif accuracy_interval(1.0, n)[0] <= chance:
        what_to_do = f"So few cannot tell, even if all {n} were right: give more validation videos."
    else:
        what_to_do = (
            "Try more epochs, a higher learning rate, pretrained weights, or training layers that "
            "are fixed now; and check that the labels are those of the videos."
        )
    return (
        f"{title}: {100 * accuracy:.1f} % right on {n} validation videos (95 % interval from "
        f"{100 * low:.1f} %), expected clearly more than the {100 * chance:.1f} % of always naming "
        f"the most frequent class: it may have learned nothing. {what_to_do}"
    )
