"""AdaFocusV2 on a cache: boxes at any place, by gradient, and by reinforcement learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...envs import FeatureSource, Source
from ...recognizer import FitConfig, Fitted, Policy, PolicyConfig, build_policy
from ...recognizer.files.typed import typed
from ...recognizer.randomness import TrainingStage
from ..centers import read_centers, train_centers
from ..task_play import TaskTrace
from .gradient import LooksByGradient
from .learned_system import LearnedSystem, Learner
from .system import ClassifierKind

_KIND = ClassifierKind("gru", reuse_glance=True)


@dataclass(frozen=True)
class CentersByGradient(LooksByGradient):
    """A policy that names the centre of a box in every segment; see `CentersOnFeatures`.

    Its setting means nothing.

    Source: AdaFocusV2 (arXiv:2112.14238).
    """

    knob: ClassVar[str] = "setting"
    stage: ClassVar[int] = TrainingStage.CENTERS_ON_FEATURES

    epochs: int = 12

    def sizes(self, source: FeatureSource, setting: float) -> PolicyConfig:
        """Return the sizes of π on a cache."""
        height, width, channels = source.cache.map_shape
        return PolicyConfig(
            height,
            width,
            channels,
            n_options=1,
            conv_channels=self.conv_channels,
            hidden=self.hidden,
            network="centers",
        )

    def build(self, config: Mapping[str, Any]) -> Policy:
        """Return π of sizes, of which none may be another network."""
        policy = build_policy(typed(PolicyConfig, config), trusted=False)
        if not policy.names_centers:
            raise ValueError(
                f"expected a network that names centres; got {policy.config.network!r}"
            )
        return policy

    def learn(
        self,
        source: FeatureSource,
        policy: Policy,
        how: FitConfig,
        seed: Sequence[int],
        checkpoint: Path | None,
    ) -> Fitted:
        """Train π in place."""
        return train_centers(source, policy, how, seed, checkpoint)

    def read(self, source: Source, videos: NDArray[np.int64], policy: Policy) -> TaskTrace:
        """Look where π says."""
        return read_centers(source, videos, policy)


ADAFOCUS_V2 = CentersByGradient(
    "adafocus_v2",
    "where to look in every frame, at any place, by gradient through interpolated features",
    "AdaFocusV2 (arXiv:2112.14238)",
    _KIND,
    places="patches",
    approximate=True,
)
ADAFOCUS_V2_PPO = LearnedSystem(
    "adafocus_v2_ppo",
    "where to look in every frame, at any place, by PPO",
    "AdaFocusV2 (arXiv:2112.14238); the learner is ours",
    _KIND,
    places="patches",
    approximate=True,
    task="Boxes",
    keywords={"observation": "map"},
    learner=Learner(
        policy="MlpPolicy",
        keywords={
            "learning_rate": 1e-3,
            "batch_size": 128,
            "n_epochs": 4,
            "gamma": 0.0,  # what is named in one frame decides little about the next
            "gae_lambda": 0.95,
            "ent_coef": 0.0,
            "policy_kwargs": {"log_std_init": -1.5},  # in a box of side 1
        },
    ),
)
ADAFOCUS_V2_SAC = LearnedSystem(
    "adafocus_v2_sac",
    "where to look in every frame, at any place, by SAC",
    "AdaFocusV2 (arXiv:2112.14238); the learner is ours",
    _KIND,
    places="patches",
    approximate=True,
    task="Boxes",
    keywords={"observation": "map"},
    learner=Learner(
        "SAC",
        "MlpPolicy",
        keywords={
            "learning_rate": 1e-3,
            "batch_size": 256,
            "gamma": 0.0,
            "train_freq": 1,
            "gradient_steps": 1,
            "learning_starts": 2_000,
            "buffer_size": 100_000,
        },
    ),
)
