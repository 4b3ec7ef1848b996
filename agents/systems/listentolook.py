"""ListenToLook on a cache: attention over the glance at a video says which segments to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...envs import FeatureSource, Source
from ...recognizer import ExitRule, FitConfig, Fitted
from ...recognizer.policies.attention import AttentionPolicy, AttentionPolicyConfig
from ...recognizer.randomness import TrainingStage
from ..attention import read_attention, train_attention
from ..task_play import TaskTrace
from .gradient import SegmentsByGradient
from .learned_system import ShareSystem
from .system import ClassifierKind, share_of

_KIND = ClassifierKind("average_logits", reuse_glance=True)


@dataclass(frozen=True)
class AttentionSystem(SegmentsByGradient[AttentionPolicy]):
    """A policy that names segments by attention over glance vectors; see `AttentionPolicy`.

    Attributes:
        key_channels: Width of keys and queries.

    Source: ListenToLook (arXiv:1912.04487).
    """

    stage: ClassVar[int] = TrainingStage.LISTENTOLOOK
    whole_segments: ClassVar[bool] = True
    network = AttentionPolicy
    sizes_of = AttentionPolicyConfig

    sizes_by_name: ClassVar[tuple[str, ...]] = ("key_channels", *SegmentsByGradient.sizes_by_name)

    key_channels: int = 512

    def sizes(self, source: FeatureSource, setting: float) -> AttentionPolicyConfig:
        """Return the sizes of π on a cache, for a share of its segments."""
        cache = source.cache
        return AttentionPolicyConfig(
            cache.glance_channels,
            cache.steps,
            share_of(cache.steps, setting),
            self.key_channels,
            self.hidden,
        )

    def learn(
        self,
        source: FeatureSource,
        policy: AttentionPolicy,
        how: FitConfig,
        seed: Sequence[int],
        checkpoint: Path | None,
    ) -> Fitted:
        """Train π in place."""
        return train_attention(source, policy, how, seed, checkpoint)

    def read(
        self,
        source: Source,
        videos: NDArray[np.int64],
        policy: AttentionPolicy,
        exits: ExitRule | None = None,
    ) -> TaskTrace:
        """Read the segments that π names."""
        return read_attention(source, videos, policy, exits)


LISTENTOLOOK = AttentionSystem(
    "listentolook",
    "which segments to read, one after the other, by attention over the glance at the video",
    "ListenToLook (arXiv:1912.04487), its variant on images",
    _KIND,
    settings=(0.8, 0.6, 0.4, 0.2),
)
LISTENTOLOOK_PPO = ShareSystem(
    "listentolook_ppo",
    "which segments to read, one after the other, or to stop, by PPO",
    "ListenToLook (arXiv:1912.04487), its variant on images; the learner, and the stop, are ours",
    _KIND,
    settings=(0.8, 0.6, 0.4, 0.2),
    task="Jump",
    count="n_decisions",  # each after what was read before
)
