"""AdaFocusV3 on a cache: cubes of a video, by gradient, and by reinforcement learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...envs import FeatureSource, Source
from ...recognizer import CubePolicy, CubePolicyConfig, FitConfig, Fitted
from ...recognizer.files.typed import typed
from ...recognizer.randomness import TrainingStage
from ..cubes import read_cubes, train_cubes
from ..task_play import TaskTrace
from .gradient import PlacesByGradient
from .learned_system import Learner, PricedSystem, Table
from .system import ClassifierKind, share_of

_KIND = ClassifierKind("max_pool", "shuffled", reuse_glance=True)


@dataclass(frozen=True)
class CubesByGradient(PlacesByGradient[CubePolicy]):
    """A policy that names cubes of a video, all at once; see `CubesOnFeatures`.

    A cube is a box in one segment. Its setting is the share of the segments that are looked at: so
    many cubes are named.

    Source: AdaFocusV3 (arXiv:2209.13465).
    """

    knob: ClassVar[str] = "share"
    whole_segments: ClassVar[bool] = True
    stage: ClassVar[int] = TrainingStage.CUBES_ON_FEATURES

    epochs: int = 30
    lr: float = 2e-3

    def check_setting(self, steps: int, setting: float) -> None:
        """Refuse a share that is not in (0, 1]."""
        share_of(steps, setting)

    def sizes(self, source: FeatureSource, setting: float) -> CubePolicyConfig:
        """Return the sizes of π on a cache, for a share of its segments."""
        return CubePolicyConfig(
            *source.cache.map_shape,
            steps=source.cache.steps,
            cubes=share_of(source.cache.steps, setting),
            conv_channels=self.conv_channels,
            hidden=self.hidden,
        )

    def build(self, config: Mapping[str, Any]) -> CubePolicy:
        """Return π of sizes, which learns both when and where."""
        sizes = typed(CubePolicyConfig, config)
        if (sizes.time, sizes.space) != ("learned", "learned"):
            raise ValueError(
                "expected a policy that learns when and where to look; got one with time "
                f"{sizes.time} and space {sizes.space}"
            )
        return CubePolicy(sizes)

    def learn(
        self,
        source: FeatureSource,
        policy: CubePolicy,
        how: FitConfig,
        seed: Sequence[int],
        checkpoint: Path | None,
    ) -> Fitted:
        """Train π in place."""
        return train_cubes(source, policy, how, seed, checkpoint)

    def read(self, source: Source, videos: NDArray[np.int64], policy: CubePolicy) -> TaskTrace:
        """Look at the cubes that π names."""
        return read_cubes(source, videos, policy)


@dataclass(frozen=True)
class CubesSystem(PricedSystem):
    """The same decisions one after the other, with a stop, learned in ``focusgym/Cubes-v0``.

    At most half of the segments are looked at. See `PricedSystem` for its setting.
    """

    def environment(self, table: Table, setting: float) -> dict[str, Any]:
        """Return the keywords at a price."""
        most = {"n_decisions": max(1, table.steps // 2)}
        return {**super().environment(table, setting), "observation": "maps", **most}


ADAFOCUS_V3 = CubesByGradient(
    "adafocus_v3",
    "when and where to look, all cubes at once, by gradient through interpolated features",
    "AdaFocusV3 (arXiv:2209.13465)",
    _KIND,
    places="patches",
    approximate=True,
    settings=(0.5, 0.3, 0.15, 0.08),
)
ADAFOCUS_V3_PPO = CubesSystem(
    "adafocus_v3_ppo",
    "when and where to look next, or to stop, by PPO",
    "AdaFocusV3 (arXiv:2209.13465); the learner, and the stop, are ours",
    _KIND,
    places="patches",
    settings=(0.1, 0.2, 0.5, 1.0),
    task="Cubes",
    learner=Learner(policy="focusgym.agents.cube_actor:CubeActorCritic"),
)
