"""Rows of a cache as samples of f_C's stages: with random patches, or with a policy's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...agents import policy_plan
from ...feature_cache import FeatureCache, cache_samples
from ...recognizer import (
    Policy,
    Purpose,
    TensorSamples,
    coarse_to_fine,
    generator,
    random_looks,
    random_options,
    uniform_draws,
)


def random_samples(
    cache: FeatureCache, split: str, skip_rate: float, key: Sequence[int]
) -> TensorSamples:
    """Return the videos of a split with random patches and skips, others in every epoch."""

    def choose(epoch: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        draws = uniform_draws(rows.tolist(), cache.steps, [*key, epoch])
        return random_options(draws, cache.n_options), random_looks(draws, skip_rate)

    return cache_samples(cache, cache.split(split), choose)


def policy_samples(
    cache: FeatureCache,
    split: str,
    policy: Policy,
    skip_rate: float,
    key: Sequence[int],
    *,
    sample: bool = False,
) -> TensorSamples:
    """Return the videos of a split with the policy's options: its best ones, or drawn.

    Where there is no π′, frames are skipped at random at ``skip_rate``, others in every epoch.
    """
    videos = cache.split(split)
    best = None if sample else policy_plan(policy, cache, videos)

    def choose(epoch: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        draws = uniform_draws(rows.tolist(), cache.steps, [*key, epoch])
        if best is None:
            plan = policy_plan(policy, cache, videos[rows.numpy()], draws)
        else:
            plan = best.rows(rows.numpy())
        options, attended = torch.from_numpy(plan.options), torch.from_numpy(plan.attended)
        return options, attended if policy.keep is not None else random_looks(draws, skip_rate)

    return cache_samples(cache, videos, choose)


def in_order(samples: TensorSamples, order: str, steps: int, key: Sequence[int]) -> TensorSamples:
    """Return samples of `OnFeatures` whose segments come in another order.

    Args:
        samples: Glance vectors, local vectors and labels, the segments in the video's order.
        order: See `segment_order`.
        steps: T.
        key: Of the draws, with the epoch and the sample.
    """
    if order == "video":
        return samples

    def load(epoch: int, rows: Tensor) -> tuple[Tensor, ...]:
        glance, local, labels = samples.load(epoch, rows)
        drawn = np.stack([segment_order(order, steps, [*key, epoch, r]) for r in rows.tolist()])
        at = torch.from_numpy(drawn)[..., None].to(glance.device)  # (B, T, 1)
        return *(each.gather(1, at.expand_as(each)) for each in (glance, local)), labels

    return TensorSamples(samples.n, load, samples.labels)


def segment_order(order: str, steps: int, key: Sequence[int]) -> NDArray[np.int64]:
    """Return the T segments in the order in which f_C is fed them.

    Args:
        order: ``coarse_to_fine``, see the function; ``shuffled``; or ``gaps``: as many as a uniform
            draw from 1..T says, at random, in the video's order, then the others in theirs.
        steps: T.
        key: Of the draws: (stage, epoch, sample).
    """
    if order == "coarse_to_fine":
        return np.asarray(coarse_to_fine(steps))
    rng = generator(Purpose.SEGMENT_ORDER, *key)
    shuffled = rng.permutation(steps)
    if order == "shuffled":
        return shuffled
    first = int(rng.integers(1, steps + 1))
    return np.concatenate([np.sort(shuffled[:first]), np.sort(shuffled[first:])])
