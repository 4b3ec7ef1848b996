"""f_C as the mean of frame-wise predictions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Classifier, KeyedDropout, spread
from .config import ClassifierConfig


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
        return torch.logaddexp(spread(state, inputs.ndim), inputs.log_softmax(dim=-1))

    def summary(self, state: Tensor) -> Tensor:
        """Return the sums of probabilities ``(B, C)``: zero before the first step."""
        return state.exp()

    def logits(self, state: Tensor, step: Tensor) -> Tensor:
        """Return the logarithm of the mean probability, ``(B, ..., C)``."""
        return state - spread((step + 1).log()[:, None], state.ndim)
