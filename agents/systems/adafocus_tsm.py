"""AdaFocus-TSM on a cache: one place for a whole video, by the exact gradient, and by PPO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...envs import FeatureSource, FocusEngine, Source
from ...recognizer import ExitRule, FitConfig, Fitted, Policy, PolicyConfig, build_policy
from ...recognizer.files.typed import typed
from ...recognizer.randomness import TrainingStage
from ..clips import read_clips, train_clips
from ..fixed import Agent, CentralAgent, FixedAgent, RandomAgent, best_fixed_option
from ..reading import read_segments
from ..task_play import TaskTrace
from .direct_system import DirectSystem, Reader
from .gradient import LooksByGradient
from .learned_system import LearnedSystem, Learner
from .system import ClassifierKind

_KIND = ClassifierKind("average_logits", reuse_glance=True)


@dataclass(frozen=True)
class ClipByGradient(LooksByGradient):
    """A policy that names one place for a whole video; see `ClipOnFeatures`.

    Its setting means nothing.

    Source: AdaFocus (arXiv:2105.03245) section 4.2; the exact gradient is ours.
    """

    knob: ClassVar[str] = "setting"
    stage: ClassVar[int] = TrainingStage.CLIPS_ON_FEATURES

    def sizes(self, source: FeatureSource, setting: float) -> PolicyConfig:
        """Return the sizes of π on a cache."""
        height, width, channels = source.cache.map_shape
        return PolicyConfig(
            height,
            width,
            channels,
            source.cache.n_options,
            self.conv_channels,
            self.hidden,
            network="clip",
        )

    def build(self, config: Mapping[str, Any]) -> Policy:
        """Return π of sizes, of which none may be another kind of network."""
        policy = build_policy(typed(PolicyConfig, config), trusted=False)
        if policy.names_centers or not policy.names_once:
            raise ValueError(
                "expected a network that names one option for all segments; got "
                f"{policy.config.network!r}"
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
        return train_clips(source, policy, how, seed, checkpoint)

    def read(self, source: Source, videos: NDArray[np.int64], policy: Policy) -> TaskTrace:
        """Look where π says."""
        return read_clips(source, videos, policy)


@dataclass(frozen=True)
class OnePlace(DirectSystem):
    """A place for a whole video that depends on nothing that is seen in it.

    Its setting means nothing.

    Attributes:
        agent: Gives who names it, from the cache with f_C and a seed: what it names in the first
            segment counts for all.
    """

    knob: ClassVar[str] = "setting"

    agent: Callable[[FeatureSource, int], Agent] = field(kw_only=True)

    def reader(
        self, source: FeatureSource, setting: float, seed: int, kept: Path | None = None
    ) -> Reader:
        """Return what looks there."""
        agent, engine = self.agent(source, seed), FocusEngine(source)

        def read(of: Source, videos: NDArray[np.int64], exits: ExitRule | None = None) -> TaskTrace:
            options = agent.plan(engine, videos).options[:, 0]
            return read_segments(of, videos, range(source.cache.steps), options, exits=exits)

        return read


class RandomPlace(OnePlace):
    """A random place, by a seed and the place of a video among those that are read together.

    On pixels these are the videos of a batch, so that a video is looked at elsewhere than on a
    cache, and elsewhere again in another place of its batch.
    """

    random_places: ClassVar[bool] = True


class BestPlace(OnePlace):
    """A place that the features of the cache say."""

    reads_features: ClassVar[bool] = True


def _best_fixed(source: FeatureSource, seed: int) -> Agent:
    """Return who names the place that comes to the highest confidence in validation videos."""
    return FixedAgent(best_fixed_option(FocusEngine(source), source.cache.split("val")))


def _random_place(source: FeatureSource, seed: int) -> Agent:
    """Return who names a random place for each video."""
    return RandomAgent(seed)


def _central_place(source: FeatureSource, seed: int) -> Agent:
    """Return who names the centre."""
    return CentralAgent()


_TSM = "AdaFocus-TSM (arXiv:2105.03245) section 4.2"
# A video is one decision, so that nothing is discounted.
_PPO: dict[str, Any] = {
    "learning_rate": 1e-3,
    "n_steps": 8,
    "batch_size": 256,
    "n_epochs": 4,
    "gamma": 1.0,
    "gae_lambda": 1.0,
}
_ACTOR = "focusgym.agents.clip_actor:ClipActorCritic"

ADAFOCUS_TSM = ClipByGradient(
    "adafocus_tsm",
    "where to look in a whole video, by the exact gradient of the expected confidence",
    f"{_TSM}; the gradient is ours",
    _KIND,
    places="patches",
)
ADAFOCUS_TSM_PPO = LearnedSystem(
    "adafocus_tsm_ppo",
    "where to look in a whole video, among the options, by PPO",
    f"{_TSM}; options in place of two real numbers are ours",
    _KIND,
    places="patches",
    task="Clip",
    keywords={"observation": "maps"},
    learner=Learner(policy=_ACTOR, n_envs=64, keywords={**_PPO, "ent_coef": 0.01}),
)
ADAFOCUS_TSM_GAUSSIAN = LearnedSystem(
    "adafocus_tsm_gaussian",
    "where to look in a whole video, as two real numbers with Gaussian noise, by PPO",
    f"{_TSM} as released: noise of 0.25; the nearest option is ours",
    _KIND,
    places="patches",
    task="Clip",
    keywords={"observation": "maps", "actions": "centers"},
    learner=Learner(policy=_ACTOR, n_envs=64, keywords={**_PPO, "ent_coef": 0.0}),
)
CLIP_RANDOM = RandomPlace(
    "clip_random",
    "nothing: a random place for a whole video",
    "a control of AdaFocus (arXiv:2105.03245) Table 5",
    _KIND,
    places="patches",
    agent=_random_place,
)
CLIP_CENTRAL = OnePlace(
    "clip_central",
    "nothing: the centre of the frame in a whole video",
    "a control of AdaFocus (arXiv:2105.03245) Table 5",
    _KIND,
    places="patches",
    agent=_central_place,
)
CLIP_FIXED = BestPlace(
    "clip_fixed",
    "nothing: the place that is best in the validation videos",
    "ours, beside the controls of AdaFocus (arXiv:2105.03245) Table 5",
    _KIND,
    places="patches",
    agent=_best_fixed,
)
