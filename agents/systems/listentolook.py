"""ListenToLook on a cache: attention over the glance at a video says which segments to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...envs import FeatureSource, Source
from ...recognizer import FitConfig, Fitted
from ...recognizer.policies.attention import AttentionPolicy, AttentionPolicyConfig
from ..attention import read_attention, train_attention
from ..task_play import TaskTrace
from .gradient import GradientSystem
from .system import ClassifierKind, LearnedSystem, Table, share_of

_KIND = ClassifierKind("average_logits", reuse_glance=True)


@dataclass(frozen=True)
class AttentionSystem(GradientSystem[AttentionPolicy]):
    """A policy that names segments by attention over glance vectors; see `AttentionPolicy`.

    Its setting is the share of the segments that are read.

    Attributes:
        key_channels: Width of keys and queries.

    Source: ListenToLook (arXiv:1912.04487).
    """

    knob: ClassVar[str] = "share"
    stage: ClassVar[int] = 26

    sizes_by_name: ClassVar[tuple[str, ...]] = ("key_channels", *GradientSystem.sizes_by_name)

    key_channels: int = 512

    def check_setting(self, steps: int, setting: float) -> None:
        """Refuse a share that is none."""
        share_of(steps, setting)

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

    def build(self, config: Mapping[str, Any]) -> AttentionPolicy:
        """Return π of sizes."""
        return AttentionPolicy(AttentionPolicyConfig(**config))

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

    def read(self, source: Source, videos: NDArray[np.int64], policy: AttentionPolicy) -> TaskTrace:
        """Read the segments that π names."""
        return read_attention(source, videos, policy)


@dataclass(frozen=True)
class JumpsSystem(LearnedSystem):
    """The same decisions learned in ``focusgym/Jump-v0``, each after what was read before.

    Its setting is the share of the segments: at most so many are read.
    """

    knob: ClassVar[str] = "share"

    def environment(self, table: Table, setting: float) -> dict[str, Any]:
        """Return the keywords at a share of the segments."""
        return {**self.keywords, "n_jumps": share_of(table.steps, setting)}


LISTENTOLOOK = AttentionSystem(
    "listentolook",
    "which segments to read, one after the other, by attention over the glance at the video",
    "ListenToLook (arXiv:1912.04487), its variant on images",
    _KIND,
    settings=(0.8, 0.6, 0.4, 0.2),
)
LISTENTOLOOK_PPO = JumpsSystem(
    "listentolook_ppo",
    "which segments to read, one after the other, or to stop, by PPO",
    "ListenToLook (arXiv:1912.04487), its variant on images; the learner, and the stop, are ours",
    _KIND,
    settings=(0.8, 0.6, 0.4, 0.2),
    task="Jump",
)
