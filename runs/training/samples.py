"""Rows of a cache as samples of f_C's stages: with random patches, or with a policy's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...agents import policy_plan
from ...feature_cache import FeatureCache, cache_samples
from ...recognizer import (
    PolicyNetwork,
    TensorSamples,
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
    policy: PolicyNetwork,
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
