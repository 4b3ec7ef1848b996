"""f_C as the maximum over frames, with a head for every number of frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Classifier, KeyedDropout, spread
from .config import ClassifierConfig


class MaxPoolClassifier(Classifier):
    """The maximum over frames of ``ReLU(BN(W·[ē^G, ē^L] + b))``, and a linear layer per step.

    What the frames so far have in common is the largest activation of each unit; the layer that
    reads it is that of the number of frames, for a maximum over many is larger.

    Source: AdaFocusV2 (arXiv:2112.14238) and FrameExit (arXiv:2104.13400): pooled features, and a
        classifier at every exit. Sizes are the released code's: one layer with batch
        normalisation, dropout before the heads.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        """Build the classifier with random weights."""
        super().__init__(config)
        glance = config.glance_channels if config.reuse_glance else 0
        self.layer = nn.Linear(glance + config.local_channels, config.hidden)
        self.norm = nn.BatchNorm1d(config.hidden)
        self.dropout = KeyedDropout(config.dropout)
        self.heads = nn.ModuleList(
            nn.Linear(config.hidden, config.n_classes) for _ in range(config.steps)
        )

    @property
    def most_steps(self) -> int:
        """As many as there are heads."""
        return len(self.heads)

    def forward(self, glance: Tensor, local: Tensor) -> Tensor:
        """Return logits ``(B, T, C)`` of whole sequences.

        Raises:
            ValueError: If there are more frames than heads.
        """
        steps = local.shape[1]
        if steps > len(self.heads):
            raise ValueError(
                f"expected at most {len(self.heads)} frames, one per head; got {steps}: build the "
                "classifier with as many steps as videos have segments"
            )
        units = self.norm(self.layer(self._joined(glance, local)).flatten(0, 1)).relu()
        pooled = units.unflatten(0, local.shape[:2]).cummax(dim=1).values  # (B, T, H)
        pooled = self.dropout(pooled)
        return torch.stack([self.heads[t](pooled[:, t]) for t in range(steps)], dim=1)

    def project(self, glance: Tensor, local: Tensor | None) -> Tensor:
        """Return the units ``(..., H)`` of a frame."""
        units = self._linear(glance, local, self.layer.weight, self.layer.bias)
        flat: Tensor = self.norm(units.reshape(-1, units.shape[-1])).relu()
        return flat.view(units.shape)

    def start(self, batch: int) -> Tensor:
        """Return zeros ``(B, H)``: no unit is smaller."""
        return self.layer.weight.new_zeros(batch, self.config.hidden)

    def recur(self, state: Tensor, step: Tensor) -> Tensor:
        """Return the state: nothing of a step depends on it alone."""
        return state

    def advance(self, state: Tensor, recurrent: Tensor, inputs: Tensor, step: Tensor) -> Tensor:
        """Return the maximum of the state and one more frame; shapes as in `Classifier`."""
        return torch.maximum(spread(state, inputs.ndim), inputs)

    def logits(self, state: Tensor, step: Tensor) -> Tensor:
        """Return logits ``(B, ..., C)`` by the head of each row's step.

        Raises:
            ValueError: If a step has no head.
        """
        state = self.dropout(state)
        row_logits = state.new_empty(*state.shape[:-1], self.config.n_classes)
        for t in torch.unique(step).tolist():  # one, where all episodes take the same steps
            if t >= len(self.heads):
                raise ValueError(
                    f"expected steps below {len(self.heads)}, the heads of this classifier; got {t}"
                )
            rows = step == t
            row_logits[rows] = self.heads[t](state[rows])
        return row_logits
