"""Budgets of AdaFocus+: from the share of frames to keep to the threshold ρ of π′."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..feature_cache import FeatureCache
from ..recognizer import Policy, build_policy
from .learned import CHUNK

_NO_KEEP = (
    "expected a policy with π′, the network that decides whether to look; got one without: train "
    "one for AdaFocus+"
)


def keep_threshold(
    policy: Policy, cache: FeatureCache, videos: NDArray[np.int64], keep_ratio: float
) -> float:
    """Solve ρ for a share of frames to look at: the (1−η) quantile of p^B over all their frames.

    ρ lies half-way between the smallest p^B that is kept and the largest that is not, so that
    rounding moves no frame across it; it is 0 where all are kept. Equal p^B are kept or skipped
    together: the share of ``p^B >= ρ`` is the nearest to η that they allow; of two shares that are
    equally near it is the larger one, and it is never zero.

    Args:
        policy: A policy network with π′; its own threshold is not used.
        cache: The feature cache.
        videos: ``(B,)`` rows to solve on.
        keep_ratio: η as a share in (0, 1].

    Returns:
        ρ in [0, 1]. Other videos are kept in another share: see `Plan.kept_share`.

    Raises:
        ValueError: If ``keep_ratio`` is not in (0, 1], if there are no videos, if the policy has no
            π′, or if p^B is not finite.

    Source: AdaFocus (arXiv:2105.03245) section 3.3: ρ activates f_L for the frames with the top η%
        largest p^B. The experiments call η a "skipping proportion"; we keep to section 3.3: η is
        the share of frames *kept*. As in the experiments, ρ is solved on training videos where
        section 3.3 has validation videos.
    """
    if not 0 < keep_ratio <= 1:
        raise ValueError(
            f"keep_ratio must be in (0, 1], the share of frames to look at; got {keep_ratio}"
        )
    if not len(videos):
        raise ValueError("expected videos to solve the threshold on; got none: give rows")
    keep = np.sort(keep_probabilities(policy, cache, videos).ravel().astype(np.float64))
    if not np.isfinite(keep).all():
        raise ValueError(
            "expected finite keep probabilities; got NaN: the policy's weights, or the cached "
            "glance maps, are damaged: train it again, or run `focusgym cache verify`"
        )
    values, first = np.unique(keep, return_index=True)  # a threshold at values[i] skips first[i]
    # Counted in frames, and rounded: what is equally near stays so in floating point.
    wanted = np.round(keep_ratio * len(keep), 6)
    i = int(np.abs(len(keep) - first - wanted).argmin())
    if i == 0:
        return 0.0
    half_way = (values[i - 1] + values[i]) / 2
    # p^B is float32: next to each other, half-way would round to one of the two.
    return float(values[i] if np.float32(half_way) <= values[i - 1] else half_way)


@torch.no_grad()
def keep_probabilities(
    policy: Policy, cache: FeatureCache, videos: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return π′'s keep probabilities p^B ``(B, T)`` for cached videos ``(B,)``.

    Raises:
        ValueError: If the policy has no π′.
    """
    if policy.keep is None:
        raise ValueError(_NO_KEEP)
    probabilities = np.empty((len(videos), cache.steps), dtype=np.float32)
    for start in range(0, len(videos), CHUNK):
        rows = slice(start, start + CHUNK)
        probabilities[rows] = policy.keep(cache.stored_glance_maps(videos[rows])).cpu().numpy()
    return probabilities


def with_threshold(policy: Policy, threshold: float) -> Policy:
    """Return a copy of a policy network that skips below another threshold, in eval mode.

    Args:
        policy: A policy network with π′.
        threshold: ρ in [0, 1].

    Raises:
        ValueError: If the policy has no π′, or ρ is not in [0, 1].
    """
    if policy.keep is None:
        raise ValueError(_NO_KEEP)
    other = build_policy(replace(policy.config, threshold=threshold))
    other.load_state_dict(policy.state_dict())
    return other.to(next(policy.parameters()).device).eval()
