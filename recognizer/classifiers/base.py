"""The classifier f_C: from the features of the frames so far to a prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..randomness import Purpose, generator
from .config import ClassifierConfig


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

    @property
    def most_steps(self) -> int | None:
        """How many steps it can take; None for any number."""
        return None

    @property
    def recurrent_units(self) -> int | None:
        """H, the units of its recurrent layer; None if it has none."""
        return None

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

    def lay_out(self) -> None:
        """Lay weights out in memory as `recur` reads them fastest; their numbers stay."""

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


def spread(rows: Tensor, ndim: int) -> Tensor:
    """Return ``(B, W)`` as ``(B, 1, ..., W)``, to broadcast over branches."""
    for _ in range(ndim - 2):
        rows = rows.unsqueeze(1)
    return rows
