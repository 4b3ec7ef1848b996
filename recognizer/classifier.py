"""The classifier f_C: from the features of the frames so far to a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of a GRU classifier.

    Attributes:
        glance_channels: G.
        local_channels: L.
        n_classes: C.
        hidden: H of the GRU (1024 in the paper).
        dropout: Dropout before the output layer, in training.
        reuse_glance: Whether ē^G is classified too (Eq. 4 does, the paper's Table 5 does not).
    """

    glance_channels: int
    local_channels: int
    n_classes: int
    hidden: int = 1024
    dropout: float = 0.5
    reuse_glance: bool = True


class Classifier(Protocol):
    """What the environment and the recognizer ask of f_C.

    Every method broadcasts over branches: alternatives of one step that share the state before it.
    """

    def project(self, glance: Tensor, local: Tensor | None) -> Tensor:
        """Turn features ``(..., G)`` and ``(..., L)`` (None: skipped, all zero) into inputs."""

    def start(self, batch: int) -> Tensor:
        """Return the state before the first step."""

    def advance(self, state: Tensor, inputs: Tensor, step: int) -> Tensor:
        """Return the states after ``step`` for inputs ``(B, ..., I)`` and state ``(B, H)``."""

    def logits(self, state: Tensor, step: int) -> Tensor:
        """Return logits ``(..., C)`` of states ``(..., H)``."""


class GruClassifier(nn.Module):
    """A one-layer GRU over ``[ē^G, ē^L]`` and a linear layer; stepped or over whole sequences.

    Source: AdaFocus (arXiv:2105.03245) Eq. 4, section 4.1.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        """Build the classifier with random weights."""
        super().__init__()
        self.config = config
        glance = config.glance_channels if config.reuse_glance else 0
        self.gru = nn.GRU(glance + config.local_channels, config.hidden, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.n_classes)

    def forward(self, glance: Tensor, local: Tensor) -> Tensor:
        """Classify whole sequences.

        Args:
            glance: ``(B, T, G)`` glance vectors.
            local: ``(B, T, L)`` local vectors; zero where the frame was skipped.

        Returns:
            ``(B, T, C)`` logits after every step.
        """
        x = torch.cat([glance, local], dim=-1) if self.config.reuse_glance else local
        states, _ = self.gru(x)
        logits: Tensor = self.head(self.dropout(states))
        return logits

    def project(self, glance: Tensor, local: Tensor | None) -> Tensor:
        """Return ``W_ih·[ē^G, ē^L] + b_ih``, the part of a step that the state does not enter.

        Args:
            glance: ``(..., G)``; broadcasts against ``local``.
            local: ``(..., L)``, or None for a skipped frame (Eq. 9: a zero vector).

        Returns:
            ``(..., 3H)``.
        """
        weight = self.gru.get_parameter("weight_ih_l0")
        bias = self.gru.get_parameter("bias_ih_l0")
        width = self.config.glance_channels if self.config.reuse_glance else 0
        inputs = bias.expand(*glance.shape[:-1], -1)
        if width:
            inputs = nn.functional.linear(glance, weight[:, :width], bias)
        if local is not None:
            inputs = inputs + nn.functional.linear(local, weight[:, width:])
        return inputs

    def start(self, batch: int) -> Tensor:
        """Return the zero state ``(B, H)``."""
        return self.head.weight.new_zeros(batch, self.config.hidden)

    def advance(self, state: Tensor, inputs: Tensor, step: int) -> Tensor:
        """Advance one step; branches share one ``W_hh·h``.

        Args:
            state: ``(B, H)``.
            inputs: ``(B, ..., 3H)`` from `project`.
            step: Index of the step; a GRU does not use it.

        Returns:
            ``(B, ..., H)``.
        """
        weight = self.gru.get_parameter("weight_hh_l0")
        hidden = nn.functional.linear(state, weight, self.gru.get_parameter("bias_hh_l0"))
        branches = (1,) * (inputs.ndim - 2)
        hidden = hidden.reshape(len(state), *branches, -1)
        state = state.reshape(len(state), *branches, -1)
        in_r, in_z, in_n = inputs.chunk(3, dim=-1)
        h_r, h_z, h_n = hidden.chunk(3, dim=-1)
        update = torch.sigmoid(in_z + h_z)
        candidate = torch.tanh(in_n + torch.sigmoid(in_r + h_r) * h_n)
        return candidate + update * (state - candidate)

    def logits(self, state: Tensor, step: int) -> Tensor:
        """Return logits ``(..., C)`` of states ``(..., H)``; ``step`` is not used."""
        logits: Tensor = self.head(self.dropout(state))
        return logits
