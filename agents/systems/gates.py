"""FrameExit's own training: gates that learn from losses when a prediction is good enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...envs import FeatureSource
from ...envs.config import check_integer
from ...recognizer import coarse_to_fine, count_gmacs, first_weights
from ...recognizer.files.bundle import write_bundle
from ...recognizer.files.typed import typed
from ...recognizer.limits import MOST_STEPS
from ...recognizer.randomness import TrainingStage
from ...recognizer.stages.samples import shuffled
from ..reading import read_segments, read_states
from .direct_system import DirectSystem, Reader, passes
from .kept import is_kept, read_kept
from .system import ClassifierKind


@dataclass(frozen=True)
class GatesConfig:
    """Sizes of gates.

    Attributes:
        steps: D, the segments of the order.
        state: S, the width of f_C's state.
        hidden: Units of a gate.

    Raises:
        ValueError: If a number is no integer of at least 1, or there are more gates than heads of a
            classifier may be.
    """

    steps: int
    state: int
    hidden: int = 64

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("steps", "state", "hidden"):
            check_integer(name, getattr(self, name), 1)
        if self.steps > MOST_STEPS:
            raise ValueError(f"steps must be at most {MOST_STEPS}; got {self.steps}")


class Gates(nn.Module):
    """A gate after each segment but the last: two layers over f_C's state before and after it."""

    def __init__(self, config: GatesConfig) -> None:
        """Build gates with random weights."""
        super().__init__()
        self.config = config
        self.gates = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * config.state, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 1)
            )
            for _ in range(config.steps - 1)
        )

    def forward(self, states: Tensor) -> Tensor:
        """Return logits ``(B, D - 1)`` of stopping after each segment, of states ``(B, D, S)``."""
        before = functional.pad(states, (0, 0, 1, 0))[:, :-1]  # nothing before the first
        both = torch.cat([before, states], dim=-1)
        return torch.cat([gate(both[:, t]) for t, gate in enumerate(self.gates)], dim=1)


@dataclass(frozen=True)
class GatedSystem(DirectSystem):
    """A system that stops where a gate says so; gates are trained on f_C's states, supervised.

    Its setting is β: a video should stop after segment t, from 1, if f_C's loss is at most
    ``β·exp(t / 2)`` there.

    Attributes:
        epochs: Passes over the training videos.
        batch_size: Videos per step.
        lr: Adam's learning rate.

    Source: FrameExit (arXiv:2104.13400): pseudo-labels from losses, with a threshold that grows
        with t. Its first exit is a threshold on the confidence; here it has a gate like the others.
    """

    knob: ClassVar[str] = "beta"
    learns: ClassVar[bool] = True
    keeps: ClassVar[bool] = True

    epochs: int = 20
    batch_size: int = 64
    lr: float = 1e-3

    def training_budget(self) -> str:
        """Return how long a training is."""
        return passes(self.epochs, self.lr)

    def reader(
        self, source: FeatureSource, setting: float, seed: int, kept: Path | None = None
    ) -> Reader:
        """Train gates on the split ``train``, or read those that are kept.

        The reader that is returned reads segments of videos until a gate stops them. A training
        takes seconds: one that was interrupted begins again.

        Raises:
            BundleError: If those that are kept cannot be read, or are of other sizes than the cache
                and f_C ask for.
        """
        cache, segments, f_c = source.cache, coarse_to_fine(source.cache.steps), source.classifier
        if kept is not None and is_kept(kept):
            sizes = GatesConfig(len(segments), f_c.summary(f_c.start(1)).shape[1])
            gates = read_kept(kept, cache, _build, sizes, ("hidden",))
        else:
            gates = self.fit(source, segments, setting, seed)
            if kept is not None:
                write_bundle(kept, "policy", gates.config, gates, cache.fingerprint)
        per_gate = 0.0
        if len(segments) > 1:
            pair = torch.zeros(1, gates.gates[0][0].in_features)  # type: ignore[index]
            per_gate = count_gmacs(lambda: gates.gates[0](pair))

        def stops(d: int, before: Tensor, after: Tensor) -> Tensor:
            logits: Tensor = gates.gates[d](torch.cat([before, after], dim=-1).cpu())
            return logits[:, 0] >= 0

        return partial(read_segments, segments=segments, stops=stops, decision_gmacs=per_gate)

    def fit(self, source: FeatureSource, segments: Sequence[int], beta: float, seed: int) -> Gates:
        """Train the gates; f_C and the encoders stay as they are.

        Args:
            source: Cache and classifier.
            segments: In the order in which they are read.
            beta: β.
            seed: Of weights and of the order of videos.
        """
        videos = source.cache.split("train")
        states, logits = read_states(source, videos, segments)
        wanted = should_stop(logits, source.cache.labels[videos], beta)[:, :-1]
        with first_weights(seed):
            gates = Gates(GatesConfig(len(segments), states.shape[-1]))
        if len(segments) == 1:
            return gates.eval()  # without a gate there is nothing to train
        optimizer = torch.optim.Adam(gates.parameters(), self.lr)
        for epoch in range(self.epochs):
            key = [seed, TrainingStage.FRAMEEXIT_GATES, epoch]
            for rows in shuffled(len(videos), self.batch_size, key):
                loss = functional.binary_cross_entropy_with_logits(
                    gates(states[rows]), wanted[rows].float()
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return gates.eval()


def _build(config: Mapping[str, Any]) -> Gates:
    """Return gates of sizes from a file, with random weights."""
    return Gates(typed(GatesConfig, config))


def should_stop(logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Return the pseudo-labels ``(B, D)``: whether a loss is at most ``β·exp(t / 2)``.

    Args:
        logits: ``(B, D, C)`` after each segment; t counts from 1.
        labels: ``(B,)`` int64.
        beta: β.
    """
    steps = logits.shape[1]
    losses = functional.cross_entropy(
        logits.flatten(0, 1), labels.repeat_interleave(steps), reduction="none"
    )
    limits = beta * torch.exp(torch.arange(1, steps + 1) / 2)
    return losses.view(-1, steps) <= limits


FRAMEEXIT_GATES = GatedSystem(
    "frameexit_gates",
    "after each segment, coarse to fine, whether to stop, by gates trained on losses",
    "FrameExit (arXiv:2104.13400)",
    ClassifierKind("max_pool", "coarse_to_fine"),
    settings=(0.001, 0.01, 0.05, 0.2),
)
