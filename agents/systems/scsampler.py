"""SCSampler: a light network ranks the segments, and those of the highest scores are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...envs import FeatureSource, FocusEngine, Source, SubsetConfig
from ...envs.config import check_integer
from ...recognizer import FitConfig, Fitted, count_gmacs
from ...recognizer.randomness import TrainingStage
from ..gradient import PolicyOnFeatures, train_on_features
from ..task_play import TaskTrace, trace_source
from .gradient import SegmentsByGradient
from .system import ClassifierKind, share_of

_MARGIN = 1.0  # η: by how much the more salient segment of a pair is to be above the other


@dataclass(frozen=True)
class SalienceConfig:
    """Sizes of a network that ranks segments.

    Attributes:
        glance_channels: G.
        hidden: Units that a glance vector becomes.
        segments: K_s, how many are read.

    Raises:
        ValueError: If a number is no integer of at least 1.
    """

    glance_channels: int
    hidden: int
    segments: int

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("glance_channels", "hidden", "segments"):
            check_integer(name, getattr(self, name), 1)


class Salience(nn.Module):
    """Scores of segments, each by its glance vector alone.

    Source: SCSampler (arXiv:1904.04289); the paper's network works on compressed video, and here
        two layers on f_G's vectors are in its place.
    """

    def __init__(self, config: SalienceConfig) -> None:
        """Build a network with random weights."""
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.glance_channels, config.hidden)
        self.score = nn.Linear(config.hidden, 1)

    def forward(self, glances: Tensor) -> Tensor:
        """Return scores ``(B, T)`` of glance vectors ``(B, T, G)``."""
        scores: Tensor = self.score(self.layer(glances).relu())
        return scores[..., 0]

    @torch.no_grad()
    def predict(
        self,
        observation: Mapping[str, NDArray[np.float32]],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float32], Any]:
        """Return scores ``(N, T)`` as actions in ``focusgym/Subset-v0``."""
        glances = torch.from_numpy(observation["glances"]).to(self.score.weight.device)
        return self(glances).cpu().numpy(), state


class RankOutputs(NamedTuple):
    """What the stage gives for B videos.

    Attributes:
        scores: ``(B, T)``.
        salience: ``(B, T)``, the confidence on the true label that each segment alone comes to.
        logits: ``(B, 1, C)`` of f_C after the segments of the highest scores.
    """

    scores: Tensor
    salience: Tensor
    logits: Tensor


class RankOnFeatures(PolicyOnFeatures):
    """A ranking of the segments by how sure f_C is of the true label when it sees one alone.

    Source: SCSampler (arXiv:1904.04289), its ranking loss.
    """

    policy: Salience

    def __init__(self, source: FeatureSource, policy: Salience) -> None:
        """Take what is fixed, and the network."""
        super().__init__(source.cache, source.classifier, policy)
        self._source, self._engine = source, FocusEngine(source)

    def forward(self, videos: Tensor) -> RankOutputs:
        """Return scores and what they are to rank, in rows ``(B,)`` of the cache."""
        rows = videos.cpu().numpy()
        known = np.ones((len(rows), self.cache.steps), dtype=bool)
        scores = self.policy(self._source.glances(rows, known))
        logits = scores.new_zeros(len(rows), 1, self.cache.n_classes)
        if not self.training:  # a validation asks what they are good for
            config = subset_config(self.policy, self._source)
            logits = trace_source(self.policy, config, self._source, rows).logits[:, -1:]
        return RankOutputs(scores, salience(self._engine, rows), logits.to(scores.device))

    def losses(self, outputs: RankOutputs, labels: Tensor) -> Tensor:
        """Return the ranking loss ``(B,)`` of each video."""
        return ranking_loss(outputs.scores, outputs.salience)

    def logits(self, outputs: RankOutputs) -> Tensor:
        """Return the logits ``(B, 1, C)`` after the segments that are read."""
        return outputs.logits


@torch.no_grad()
def salience(engine: FocusEngine, videos: NDArray[np.int64]) -> Tensor:
    """Return how sure f_C is of the true label after each segment alone, ``(B, T)``.

    Args:
        engine: An engine on a cache.
        videos: ``(B,)`` rows of it.
    """
    engine.start(videos)
    option = np.zeros((len(videos), 1), dtype=np.int64)
    confidences = [
        engine.try_options(np.full(len(videos), t), option).confidences
        for t in range(engine.cache.steps)
    ]
    return torch.cat(confidences, dim=1)


def ranking_loss(scores: Tensor, salience: Tensor) -> Tensor:
    """Return the mean over pairs of segments of a video of a hinge on their order, ``(B,)``.

    A pair adds ``max(0, η − (s_i − s_j))``, where i is the more salient one; pairs that are equally
    salient add nothing.

    Args:
        scores: ``(B, T)``.
        salience: ``(B, T)``.

    Source: SCSampler (arXiv:1904.04289), its loss on pairs; η = 1 is ours.
    """
    above = salience[:, :, None] > salience[:, None, :]  # (B, T, T): i before j
    hinges = (_MARGIN - (scores[:, :, None] - scores[:, None, :])).relu()
    return (hinges * above).sum(dim=(1, 2)) / above.sum(dim=(1, 2)).clamp(min=1)


def subset_config(policy: Salience, source: Source) -> SubsetConfig:
    """Return the rules by which a network's scores are read, its own cost among the prices."""
    glances = policy.score.weight.new_zeros(1, source.cache.steps, policy.config.glance_channels)
    gmacs = count_gmacs(lambda: policy(glances))
    return SubsetConfig(
        source.cache.root, "", n_segments=policy.config.segments, policy_gmacs=gmacs
    )


@dataclass(frozen=True)
class SalienceSystem(SegmentsByGradient[Salience]):
    """A network that ranks segments, supervised by f_C; see `RankOnFeatures`."""

    stage: ClassVar[int] = TrainingStage.SCSAMPLER
    whole_segments: ClassVar[bool] = True
    network = Salience
    sizes_of = SalienceConfig

    hidden: int = 128

    def sizes(self, source: FeatureSource, setting: float) -> SalienceConfig:
        """Return the sizes of the network on a cache, for a share of its segments."""
        cache = source.cache
        return SalienceConfig(cache.glance_channels, self.hidden, share_of(cache.steps, setting))

    def learn(
        self,
        source: FeatureSource,
        policy: Salience,
        how: FitConfig,
        seed: Sequence[int],
        checkpoint: Path | None,
    ) -> Fitted:
        """Train the network in place."""
        return train_on_features(RankOnFeatures(source, policy), how, seed, checkpoint)

    def read(self, source: Source, videos: NDArray[np.int64], policy: Salience) -> TaskTrace:
        """Read the segments of the highest scores, by the rules of ``focusgym/Subset-v0``."""
        return trace_source(policy, subset_config(policy, source), source, videos)


SCSAMPLER = SalienceSystem(
    "scsampler",
    "which segments to read, those of the highest scores of a light network",
    "SCSampler (arXiv:1904.04289)",
    ClassifierKind("average"),
    settings=(0.8, 0.6, 0.4, 0.2),
)
