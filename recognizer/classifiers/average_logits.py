"""f_C as the mean of frame-wise scores."""

from __future__ import annotations

import torch
from torch import Tensor

from .average import AverageClassifier
from .base import spread


class AverageLogitsClassifier(AverageClassifier):
    """The mean of frame-wise logits: a linear layer over ``[ē^G, ē^L]`` of every frame.

    A frame that is very sure of one class outweighs several that are not, where `AverageClassifier`
    gives each the same say.

    Source: TSN (arXiv:1608.00859) section 3.1: the segmental consensus by averaging class scores
        before the softmax.
    """

    def forward(self, glance: Tensor, local: Tensor) -> Tensor:
        """Return logits ``(B, T, C)`` of whole sequences."""
        sums = self.head(self.dropout(self._joined(glance, local))).cumsum(dim=1)
        frames = torch.arange(1, sums.shape[1] + 1, device=sums.device)
        logits: Tensor = sums / frames[:, None]
        return logits

    def start(self, batch: int) -> Tensor:
        """Return the sum of no logits yet, ``(B, C)``."""
        return self.head.weight.new_zeros(batch, self.config.n_classes)

    def advance(self, state: Tensor, recurrent: Tensor, inputs: Tensor, step: Tensor) -> Tensor:
        """Add the logits of one more frame; shapes as in `Classifier`."""
        return spread(state, inputs.ndim) + inputs

    def summary(self, state: Tensor) -> Tensor:
        """Return the sums of logits ``(B, C)``."""
        return state

    def logits(self, state: Tensor, step: Tensor) -> Tensor:
        """Return the mean logits ``(B, ..., C)``."""
        return state / spread((step + 1)[:, None].to(state.dtype), state.ndim)
