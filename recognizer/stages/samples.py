"""What the stages are trained on: numbered samples in keyed order, with keyed draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..randomness import Purpose, generator


class Samples(Protocol):
    """Training or validation samples of a stage.

    Attributes:
        n: How many there are.
        labels: Of all of them, as batches have them; None where they are known only batch by batch.
    """

    @property
    def n(self) -> int:
        """How many there are."""

    @property
    def labels(self) -> Tensor | None:
        """Of all of them, ``(n,)`` int64 or ``(n, C)`` bool; None where they are not at hand."""

    def batches(self, epoch: int, rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """Yield one batch after the other.

        Args:
            epoch: From 0; augmentation and draws are keyed by it, and by the sample.
            rows: Which samples make each batch: ``(B,)`` int64 in ``[0, n)``.

        Yields:
            What the stage takes, each with B samples; the last one are the labels, ``(B,)`` int64
            or ``(B, C)`` bool.
        """


@dataclass(frozen=True)
class TensorSamples:
    """Samples that are at hand, in memory or in a cache.

    Attributes:
        n: How many there are.
        load: Gives the tensors of a batch, from the epoch's index and rows ``(B,)``.
        labels: Of all samples, ``(n,)`` int64 or ``(n, C)`` bool; None where they are not at hand.
    """

    n: int
    load: Callable[[int, Tensor], tuple[Tensor, ...]]
    labels: Tensor | None = None

    def batches(self, epoch: int, rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """Yield one batch after the other; see `Samples`."""
        for some in rows:
            yield self.load(epoch, some)


def shuffled(n: int, batch_size: int, key: Sequence[int]) -> tuple[Tensor, ...]:
    """Return the rows ``(B,)`` of each batch of an epoch, in an order that the key decides."""
    order = generator(Purpose.SAMPLE_ORDER, *key).permutation(n)
    batches: tuple[Tensor, ...] = torch.from_numpy(order).split(batch_size)
    return batches


def uniform_draws(rows: Sequence[int], steps: int, key: Sequence[int], width: int = 2) -> Tensor:
    """Return ``(B, T, width)`` float64 numbers, uniform in [0, 1), keyed by (key, row).

    Of the two numbers of a frame the first decides where to look, the second whether; of boxes both
    decide where. They depend neither on the batch nor on the process that a sample is in.
    """
    drawn = [generator(Purpose.SAMPLE_DRAWS, *key, row).random((steps, width)) for row in rows]
    return torch.from_numpy(np.stack(drawn))


def random_options(draws: Tensor, n_options: int) -> Tensor:
    """Return random options ``(B, T)`` in ``[0, K)``, uniform.

    Args:
        draws: ``(B, T, 2)`` uniform in [0, 1).
        n_options: K.

    Source: AdaFocus (arXiv:2105.03245) Eq. 5; the paper crops at any pixel, here a random patch is
        one of the grid's.
    """
    return (draws[..., 0] * n_options).long()


def random_looks(draws: Tensor, skip_rate: float = 0.0) -> Tensor:
    """Return whether frames are looked at, ``(B, T)`` bool, at random.

    Args:
        draws: ``(B, T, 2)`` uniform in [0, 1).
        skip_rate: Share of the frames that are not, in [0, 1).

    Source: Ours. In the paper (arXiv:2105.03245) f_C meets zero local vectors (Eq. 9) only once it
        is frozen, and what it makes of them is left to chance.
    """
    return draws[..., 1] >= skip_rate
