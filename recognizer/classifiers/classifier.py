"""The classifier f_C: from the features of the frames so far to a prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..randomness import Purpose, generator


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of a classifier, and how it joins frames.

    Attributes:
        glance_channels: G.
        local_channels: L.
        n_classes: C.
        hidden: H of the GRU (1024 in the paper); not used by averaging.
        dropout: Dropout before the output layer, in training.
        reuse_glance: Whether ē^G is classified too (Eq. 4 does, the paper's Table 5 does not).
        aggregation: ``gru``, or ``average``: the mean of frame-wise predictions.

    Raises:
        ValueError: If the aggregation is unknown, or the dropout out of range.
    """

    glance_channels: int
    local_channels: int
    n_classes: int
    hidden: int = 1024
    dropout: float = 0.5
    reuse_glance: bool = True
    aggregation: str = "gru"

    def __post_init__(self) -> None:
        """Check the aggregation and the dropout."""
        if self.aggregation not in ("gru", "average"):
            raise ValueError(f"aggregation must be 'gru' or 'average'; got {self.aggregation!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); got {self.dropout}")


class Classifier(nn.Module, ABC):
    """What f_C has to be: a module over whole sequences that can also be stepped.

    A step has branches: alternatives ``(B, ...)`` that share the state before it. S, R and I are
    the classifier's own widths; ``step`` holds the index of each row's step, ``(B,)`` int64.

    Attributes:
        config: Its sizes.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        """Keep the sizes."""
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, glance: Tensor, local: Tensor) -> Tensor:
        """Classify whole sequences.

        Args:
            glance: ``(B, T, G)`` glance vectors.
            local: ``(B, T, L)`` local vectors; zero where the frame was skipped.

        Returns:
            ``(B, T, C)`` logits after every step.
        """

    @abstractmethod
    def project(self, glance: Tensor, local: Tensor | None) -> Tensor:
        """Turn the features of a frame into inputs; what the state does not enter.

        Args:
            glance: ``(..., G)``; broadcasts against ``local``.
            local: ``(..., L)``, or None for a skipped frame (Eq. 9: a zero vector).

        Returns:
            ``(..., I)``.
        """

    @abstractmethod
    def start(self, batch: int) -> Tensor:
        """Return the state ``(B, S)`` before the first step."""

    @abstractmethod
    def recur(self, state: Tensor, step: Tensor) -> Tensor:
        """Return ``(B, R)``, what a step needs of its state alone: once for all branches."""

    @abstractmethod
    def advance(self, state: Tensor, recurrent: Tensor, inputs: Tensor, step: Tensor) -> Tensor:
        """Return the states after a step.

        Args:
            state: ``(B, S)``.
            recurrent: ``(B, R)`` from `recur`.
            inputs: ``(B, ..., I)`` from `project`.
            step: ``(B,)``.

        Returns:
            ``(B, ..., S)``.
        """

    @abstractmethod
    def logits(self, state: Tensor, step: Tensor) -> Tensor:
        """Return logits ``(B, ..., C)`` of states ``(B, ..., S)`` after ``step``."""

    def summary(self, state: Tensor) -> Tensor:
        """Return states ``(B, S)`` as finite numbers, for agents that observe them."""
        return state

    def _linear(self, glance: Tensor, local: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
        """Return ``W·[ē^G, ē^L] + b`` without multiplying what a skipped frame lacks."""
        width = glance.shape[-1] if self.config.reuse_glance else 0
        inputs = bias.expand(*glance.shape[:-1], -1)
        if width:
            inputs = nn.functional.linear(glance, weight[:, :width], bias)
        if local is not None:
            inputs = inputs + nn.functional.linear(local, weight[:, width:])
        return inputs

    def _joined(self, glance: Tensor, local: Tensor) -> Tensor:
        return torch.cat([glance, local], dim=-1) if self.config.reuse_glance else local


class KeyedDropout(nn.Dropout):
    """Dropout whose masks are keyed by sample, where keys are given.

    So a training does not depend on how its batches are divided among processes, and goes on after
    an interruption without the state of a generator.

    Attributes:
        keys: Of each sample of the next input ``(B, ...)``; None draws from torch's generator.
    """

    keys: Sequence[Sequence[int]] | None = None

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements in training, and scale the others up."""
        if not self.training or self.keys is None or not 0 < self.p < 1:
            return super().forward(input)
        size = input[0].numel()
        drawn = np.stack(
            [generator(Purpose.DROPOUT, *key).random(size, np.float32) for key in self.keys]
        )
        kept = torch.from_numpy(drawn >= self.p).view(input.shape).to(input.device)
        return input * kept / (1 - self.p)


class GruClassifier(Classifier):
    """A one-layer GRU over ``[ē^G, ē^L]`` and a linear layer; stepped or over whole sequences.

    Source: AdaFocus (arXiv:2105.03245) Eq. 4, section 4.1.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        """Build the classifier with random weights."""
        super().__init__(config)
        glance = config.glance_channels if config.reuse_glance else 0
        self.gru = nn.GRU(glance + config.local_channels, config.hidden, batch_first=True)
        self.dropout = KeyedDropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.n_classes)

    def forward(self, glance: Tensor, local: Tensor) -> Tensor:
        """Return logits ``(B, T, C)`` of whole sequences."""
        states, _ = self.gru(self._joined(glance, local))
        logits: Tensor = self.head(self.dropout(states))
        return logits

    def project(self, glance: Tensor, local: Tensor | None) -> Tensor:
        """Return ``W_ih·[ē^G, ē^L] + b_ih``, ``(..., 3H)``."""
        weight, bias = self.gru.get_parameter("weight_ih_l0"), self.gru.get_parameter("bias_ih_l0")
        return self._linear(glance, local, weight, bias)

    def start(self, batch: int) -> Tensor:
        """Return the zero state ``(B, H)``."""
        return self.head.weight.new_zeros(batch, self.config.hidden)

    def recur(self, state: Tensor, step: Tensor) -> Tensor:
        """Return ``W_hh·h + b_hh``, ``(B, 3H)``."""
        weight, bias = self.gru.get_parameter("weight_hh_l0"), self.gru.get_parameter("bias_hh_l0")
        return nn.functional.linear(state, weight, bias)

    def advance(self, state: Tensor, recurrent: Tensor, inputs: Tensor, step: Tensor) -> Tensor:
        """Return states ``(B, ..., H)``; branches share ``recurrent``, ``W_hh·h + b_hh``."""
        width = self.config.hidden
        recurrent, state = _spread(recurrent, inputs.ndim), _spread(state, inputs.ndim)
        gates = torch.add(inputs[..., : 2 * width], recurrent[..., : 2 * width]).sigmoid_()
        reset, update = gates.chunk(2, dim=-1)
        candidate = torch.addcmul(inputs[..., 2 * width :], reset, recurrent[..., 2 * width :])
        # tanh(x) = 1 - 2σ(-2x): on a CPU torch's tanh takes six times as long as its sigmoid.
        candidate = torch.rsub(candidate.mul_(-2).sigmoid_(), 1, alpha=2)
        return torch.lerp(candidate, state, update)

    def logits(self, state: Tensor, step: Tensor) -> Tensor:
        """Return logits ``(B, ..., C)`` of states ``(B, ..., H)``; ``step`` is not used."""
        logits: Tensor = self.head(self.dropout(state))
        return logits


class AverageClassifier(Classifier):
    """The mean of frame-wise predictions: a linear layer over ``[ē^G, ē^L]`` of every frame.

    What is averaged is softmax probabilities; logits are the mean's logarithm, so that their
    softmax is the mean.

    Source: AdaFocus (arXiv:2105.03245) section 3.1: f_C "can also be set as taking the average of
        frame-wise predictions"; that probabilities are averaged is the released code's choice.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        """Build the classifier with random weights."""
        super().__init__(config)
        glance = config.glance_channels if config.reuse_glance else 0
        self.dropout = KeyedDropout(config.dropout)
        self.head = nn.Linear(glance + config.local_channels, config.n_classes)

    def forward(self, glance: Tensor, local: Tensor) -> Tensor:
        """Return logits ``(B, T, C)`` of whole sequences."""
        x = self.dropout(self._joined(glance, local))
        sums = self.head(x).log_softmax(dim=-1).logcumsumexp(dim=1)
        frames = torch.arange(1, sums.shape[1] + 1, device=sums.device)
        logits: Tensor = sums - frames[:, None].log()
        return logits

    def project(self, glance: Tensor, local: Tensor | None) -> Tensor:
        """Return the frame's own logits ``(..., C)``."""
        return self._linear(glance, local, self.head.weight, self.head.bias)

    def start(self, batch: int) -> Tensor:
        """Return the logarithm of no probability yet, ``(B, C)``."""
        return self.head.weight.new_full((batch, self.config.n_classes), -torch.inf)

    def recur(self, state: Tensor, step: Tensor) -> Tensor:
        """Return the state: nothing of a step depends on it alone."""
        return state

    def advance(self, state: Tensor, recurrent: Tensor, inputs: Tensor, step: Tensor) -> Tensor:
        """Add the probabilities of one more frame; shapes as in `Classifier`."""
        return torch.logaddexp(_spread(state, inputs.ndim), inputs.log_softmax(dim=-1))

    def summary(self, state: Tensor) -> Tensor:
        """Return the sums of probabilities ``(B, C)``: zero before the first step."""
        return state.exp()

    def logits(self, state: Tensor, step: Tensor) -> Tensor:
        """Return the logarithm of the mean probability, ``(B, ..., C)``."""
        return state - _spread((step + 1).log()[:, None], state.ndim)


def build_classifier(config: ClassifierConfig) -> Classifier:
    """Build the classifier that a config describes, with random weights."""
    return GruClassifier(config) if config.aggregation == "gru" else AverageClassifier(config)


def _spread(rows: Tensor, ndim: int) -> Tensor:
    """Return ``(B, W)`` as ``(B, 1, ..., W)``, to broadcast over branches."""
    for _ in range(ndim - 2):
        rows = rows.unsqueeze(1)
    return rows
