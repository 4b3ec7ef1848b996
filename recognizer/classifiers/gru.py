"""f_C as a GRU over the frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Classifier, KeyedDropout, spread
from .config import ClassifierConfig


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

    @property
    def recurrent_units(self) -> int:
        """H."""
        return self.config.hidden

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

    def lay_out(self) -> None:
        """Lay W_hh out by its columns: a product with few states takes some per cent less so."""
        weight = self.gru.get_parameter("weight_hh_l0")
        weight.data = weight.data.t().contiguous().t()

    def advance(self, state: Tensor, recurrent: Tensor, inputs: Tensor, step: Tensor) -> Tensor:
        """Return states ``(B, ..., H)``; branches share ``recurrent``, ``W_hh·h + b_hh``."""
        width = self.config.hidden
        recurrent, state = spread(recurrent, inputs.ndim), spread(state, inputs.ndim)
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
