"""Which videos are worth seeing: where two policies differ, or one does badly or little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ..configs.replay import Kind
from ..evaluation.trace import Played

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Pick:
    """A video that was selected.

    Attributes:
        position: Among the B videos.
        kind: What it was selected for; None where it was chosen by hand.
        why: The same in words, with the figure.
    """

    position: int
    kind: Kind | None
    why: str


def pick(
    kinds: Sequence[Kind],
    count: int,
    first: Played,
    second: Played,
    regrets: Callable[[], NDArray[np.floating]],
    chosen: Sequence[Pick] = (),
) -> list[Pick]:
    """Select the videos of each kind that have most of it.

    Args:
        kinds: What to look for. A video is selected once, for the first kind that takes it.
        count: Videos of each kind, or fewer where fewer are of that kind.
        first: What the policy did in B videos.
        second: What the policy that it is compared with did in the same videos.
        regrets: Gives the summed regrets ``(B,)`` of the first; called if they are asked for.
        chosen: Picked before, for whatever reason.

    Returns:
        What was chosen, and the picks, kind by kind; of equal videos the one that comes first.
    """
    picks = list(chosen)
    for kind in kinds:
        taken = {each.position for each in picks}
        values, reason_of = _figures(kind, first, second, regrets)
        order = np.argsort(-values, kind="stable")
        of_kind = [i for i in order.tolist() if np.isfinite(values[i]) and i not in taken]
        picks += [Pick(i, kind, reason_of(float(values[i]))) for i in of_kind[:count]]
    return picks


def following(picks: Sequence[Pick], count: int, n_videos: int) -> list[Pick]:
    """Return the first videos that were not picked, in their order, or fewer where fewer are left.

    Args:
        picks: What was picked before.
        count: How many more videos are picked.
        n_videos: B.
    """
    taken = {each.position for each in picks}
    left = [i for i in range(n_videos) if i not in taken]
    return [Pick(i, None, "next in the split") for i in left[:count]]


def _figures(
    kind: Kind, first: Played, second: Played, regrets: Callable[[], NDArray[np.floating]]
) -> tuple[NDArray[np.float64], Callable[[float], str]]:
    """Return how much each video has of a kind ``(B,)``, −∞ where it is not of it; and words."""
    gains = (first.confidences[:, -1] - second.confidences[:, -1]).astype(np.float64)
    if kind == "turned_right":
        turned = first.correct[:, -1] & ~second.correct[:, -1]
        return np.where(
            turned, gains, -np.inf
        ), lambda gain: f"turned right: wrong with the second policy; confidence {gain:+.2f}"
    if kind == "gain":
        return np.where(
            _can_be_seen(gains), gains, -np.inf
        ), lambda gain: f"largest gain: confidence {gain:+.2f} over the second policy"
    if kind == "regret":
        summed = regrets().astype(np.float64)
        return (
            np.where(_can_be_seen(summed), summed, -np.inf),
            lambda lost: (
                f"largest regret: confidence {lost:.2f} below the best, summed over the frames"
            ),
        )
    skips, n_decisions = (~first.attended).sum(axis=1).astype(np.float64), first.attended.shape[1]
    what = "frames" if n_decisions == first.correct.shape[1] else "focal branches of the frames"
    return (
        np.where(skips > 0, skips, -np.inf),
        lambda n: f"most skipped: {n:.0f} of {n_decisions} {what}",
    )


def _can_be_seen(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which are more than 0 as they are told, with two digits."""
    seen: NDArray[np.bool_] = np.round(values, 2) > 0
    return seen
