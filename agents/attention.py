"""A policy that names segments by attention, trained by gradient on a cache, and what it reads."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import FeatureSource, Source
from ..recognizer import ExitRule, FitConfig, Fitted, count_gmacs
from ..recognizer.policies.attention import AttentionPolicy
from .gradient import PolicyOnFeatures, train_on_features
from .reading import read_segments
from .task_play import N_ENVS, TaskTrace


class AttentionOnFeatures(PolicyOnFeatures):
    """π by attention, trained through the features of the segments that it weights.

    In training f_C is fed, step by step, the mean of the features of all segments under π's
    weights; in validation those of the segment that is named.

    Source: ListenToLook (arXiv:1912.04487) section 3.3.
    """

    policy: AttentionPolicy

    def forward(self, videos: Tensor) -> Tensor:
        """Return logits ``(B, D, C)`` of rows ``(B,)`` of the cache."""
        rows = videos.cpu().numpy()
        every = np.arange(self.cache.steps)
        glance = self.cache.glance_vectors(rows)  # (B, T, G)
        first = np.zeros_like(every)[None]
        local = self.cache.local_vectors(rows[:, None], every[None], first)  # (B, T, L)
        weights = self.policy(glance)  # (B, D, T)
        logits: Tensor = self.classifier(weights @ glance, weights @ local)
        return logits


def train_attention(
    source: FeatureSource,
    policy: AttentionPolicy,
    config: FitConfig,
    seed: Sequence[int],
    checkpoint: str | os.PathLike[str] | None = None,
) -> Fitted:
    """Train a policy in place; see `train_on_features`.

    Args:
        source: Cache, whose first option is read, and classifier.
        policy: Names segments of videos of as many as the cache has; on the device of the cache.
        config: As of `train_on_features`, like the rest.
        seed: Of the order of videos.
        checkpoint: See `fit`.

    Raises:
        CacheError, FitError, CheckpointError: As `train_on_features`.
    """
    stage = AttentionOnFeatures(source.cache, source.classifier, policy)
    return train_on_features(stage, config, seed, checkpoint)


@torch.no_grad()
def read_attention(
    source: Source,
    videos: NDArray[np.int64],
    policy: AttentionPolicy,
    exits: ExitRule | None = None,
) -> TaskTrace:
    """Glance at all segments of every video, then read those that a policy names.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
        policy: The policy, in evaluation mode.
        exits: When a video stops before; see `read_segments`.
    """
    named = []
    for start in range(0, len(videos), N_ENVS):
        some = videos[start : start + N_ENVS]
        glance = source.glances(some, np.ones((len(some), source.cache.steps), dtype=bool))
        named.append(policy(glance).argmax(dim=-1).cpu().numpy())
    segments = np.concatenate(named)  # (B, D)
    gmacs = attention_gmacs(policy)
    return read_segments(source, videos, segments, exits=exits, plan_gmacs=gmacs)


def attention_gmacs(policy: AttentionPolicy) -> float:
    """Return the GMACs of naming all segments of a video."""
    config = policy.config
    on_cpu = copy.deepcopy(policy).cpu()
    return count_gmacs(lambda: on_cpu(torch.zeros(1, config.steps, config.glance_channels)))
