"""LiteEval: in every segment, in order, coarse features alone or the fine ones too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...envs import FeatureSource, ResolutionConfig, Source
from ...envs.config import check_integer
from ...recognizer import ExitRule, FitConfig, Fitted, count_gmacs
from ...recognizer.afnet.gates import select
from ...recognizer.randomness import TrainingStage
from ...recognizer.stages.stage import sequence_losses
from ..gradient import PolicyOnFeatures, train_on_features
from ..task_play import TaskTrace, trace_source
from .gradient import SegmentsByGradient
from .learned_system import PricedSystem
from .system import ClassifierKind, share_of

# Half of the segments are coarse while f_C is trained, as its policy is not known yet.
_KIND = ClassifierKind("gru", reuse_glance=True, skip_rate=0.5)
_TASK: dict[str, Any] = {"coarse": True, "skips": ()}
_FINE, _COARSE = 0, 1  # actions of the task


@dataclass(frozen=True)
class GateConfig:
    """Sizes of a gate.

    Attributes:
        glance_channels: G.
        state: S, the width of f_C's state.
        hidden: Units that a glance vector becomes.
        share: Of the segments of a video that are to be read finely.

    Raises:
        ValueError: If a number is out of range.
    """

    glance_channels: int
    state: int
    hidden: int
    share: float

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("glance_channels", "state", "hidden"):
            check_integer(name, getattr(self, name), 1)
        share_of(1, self.share)


class Gate(nn.Module):
    """From a glance vector and f_C's state to a margin: fine where it is above 0.

    Source: LiteEval (arXiv:1912.01601), sizes as its released code has them: a layer on the coarse
        features, and a linear one on these and the state. It has two scores, of which the margin is
        the difference, and batch normalisation; here is none.
    """

    def __init__(self, config: GateConfig) -> None:
        """Build a gate with random weights."""
        super().__init__()
        self.config = config
        self.coarse = nn.Linear(config.glance_channels, config.hidden)
        self.margin = nn.Linear(config.hidden + config.state, 1)

    def forward(self, glance: Tensor, state: Tensor) -> Tensor:
        """Return margins ``(B,)``.

        Args:
            glance: ``(B, G)`` glance vectors of a segment.
            state: ``(B, S)`` of f_C before it.
        """
        margin: Tensor = self.margin(torch.cat([self.coarse(glance).relu(), state], dim=-1))
        return margin[:, 0]

    @torch.no_grad()
    def predict(
        self,
        observation: Mapping[str, NDArray[np.float32]],
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], Any]:
        """Return the actions ``(N,)`` in ``focusgym/Resolution-v0``, without noise."""
        segments = observation["now"].argmax(axis=1)
        glance = observation["glances"][np.arange(len(segments)), segments]
        on = self.margin.weight.device
        margin = self(*(torch.from_numpy(each).to(on) for each in (glance, observation["state"])))
        return np.where(margin.cpu().numpy() > 0, _FINE, _COARSE), state


class GateOutputs(NamedTuple):
    """What the stage gives for B videos.

    Attributes:
        logits: ``(B, 1, C)`` of f_C at the end.
        fine: ``(B, T)``, 1 where a segment was read finely and 0 elsewhere, with soft gradients.
    """

    logits: Tensor
    fine: Tensor


class GateOnFeatures(PolicyOnFeatures):
    """A gate with f_C, by Gumbel noise with straight-through gradients.

    The loss of a video is f_C's at its end, and w·(share − γ)², where the share is that of the
    batch's segments that are read finely and γ what is wanted.

    Source: LiteEval (arXiv:1912.01601) with its released code: the temperature is
        max(0.5, exp(−step / 10⁴)), and w = 2 − exp(−step / epochs), where steps count batches. Here
        both stay as they are at the beginning of an epoch until its end.
    """

    policy: Gate

    def __init__(self, source: FeatureSource, policy: Gate, batch_size: int) -> None:
        """Take what is fixed, and the gate; ``batch_size`` videos are a step of the schedule."""
        super().__init__(source.cache, source.classifier, policy)
        self._n_batches = math.ceil(len(source.cache.split("train")) / batch_size)
        self.begin_epoch(0, 1)

    def begin_epoch(self, epoch: int, n_epochs: int) -> None:
        """Set the temperature and the weight w."""
        self.temperature, self.weight = schedule(epoch * self._n_batches, n_epochs)

    def may_be_kept(self, epoch: int, n_epochs: int) -> bool:
        """Keep the last epoch: the most accurate one may be that of a gate that reads too much."""
        return epoch == n_epochs

    def forward(self, videos: Tensor, draws: Tensor) -> GateOutputs:
        """Feed f_C all segments of rows ``(B,)`` of the cache; draws are ``(B, T, 1)``."""
        rows, f_c = videos.cpu().numpy(), self.classifier
        whole_frames = np.zeros((len(rows), self.cache.steps), dtype=np.int64)
        glances, local, _ = self.cache.sequences(rows, whole_frames)  # (B, T, G), (B, T, L)
        state, fine = f_c.start(len(rows)), []
        for t in range(self.cache.steps):
            step = torch.full((len(rows),), t, device=state.device)
            margin = self.policy(glances[:, t], f_c.summary(state))
            fine.append(select(margin, self.temperature, draws[:, t, 0] if self.training else None))
            inputs = f_c.project(glances[:, t], fine[-1][:, None] * local[:, t])
            state = f_c.advance(state, f_c.recur(state, step), inputs, step)
        return GateOutputs(f_c.logits(state, step)[:, None], torch.stack(fine, dim=1))

    def losses(self, outputs: GateOutputs, labels: Tensor) -> Tensor:
        """Return the loss ``(B,)`` of each video; that of the share is the same for all."""
        share = outputs.fine.mean()
        return (
            sequence_losses(outputs.logits, labels)
            + self.weight * (share - self.policy.config.share).square()
        )

    def logits(self, outputs: GateOutputs) -> Tensor:
        """Return f_C's logits ``(B, 1, C)`` at the end."""
        return outputs.logits


def schedule(step: int, n_epochs: int) -> tuple[float, float]:
    """Return the temperature and the weight w of a step of a training; see `GateOnFeatures`.

    Args:
        step: In batches, from 0.
        n_epochs: How many epochs the training has.
    """
    return max(0.5, math.exp(-1e-4 * step)), 2 - math.exp(-step / n_epochs)


@dataclass(frozen=True)
class GatesByGumbel(SegmentsByGradient[Gate]):
    """A gate that is trained through f_C with Gumbel noise; see `GateOnFeatures`.

    Its setting is the share of the segments that are to be read finely, 1 − γ of the paper.
    """

    stage: ClassVar[int] = TrainingStage.LITE_EVAL_GATES
    network = Gate
    sizes_of = GateConfig

    hidden: int = 512

    def sizes(self, source: FeatureSource, setting: float) -> GateConfig:
        """Return the sizes of the gate on a cache with its f_C."""
        state = source.classifier.start(1).shape[1]
        return GateConfig(source.cache.glance_channels, state, self.hidden, setting)

    def learn(
        self,
        source: FeatureSource,
        policy: Gate,
        how: FitConfig,
        seed: Sequence[int],
        checkpoint: Path | None,
    ) -> Fitted:
        """Train the gate in place."""
        stage = GateOnFeatures(source, policy, how.batch_size)
        return train_on_features(stage, how, seed, checkpoint, draws=True)

    def read(
        self,
        source: Source,
        videos: NDArray[np.int64],
        policy: Gate,
        exits: ExitRule | None = None,
    ) -> TaskTrace:
        """Read every segment as the gate says, by the rules of ``focusgym/Resolution-v0``."""
        weights, sizes = policy.margin.weight, policy.config
        glance, state = (weights.new_zeros(1, n) for n in (sizes.glance_channels, sizes.state))
        gate_gmacs = count_gmacs(lambda: policy(glance, state))
        config = ResolutionConfig(source.cache.root, "", policy_gmacs=gate_gmacs, **_TASK)
        return trace_source(policy, config, source, videos, exits=exits)


LITE_EVAL = PricedSystem(
    "lite_eval",
    "in each segment whether the glance is enough, or the whole frame is read too",
    "LiteEval (arXiv:1912.01601); the learner is ours",
    _KIND,
    task="Resolution",
    keywords=_TASK,
)
LITE_EVAL_GATES = GatesByGumbel(
    "lite_eval_gates",
    "the same, by a gate trained through f_C with Gumbel noise",
    "LiteEval (arXiv:1912.01601)",
    _KIND,
    settings=(0.5, 0.35, 0.2, 0.1),
)
