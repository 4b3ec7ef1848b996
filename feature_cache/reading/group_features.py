"""The features of one option group of an opened cache, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import OptionGroup
from ...recognizer.devices import to_device


@dataclass(frozen=True, eq=False)
class GroupFeatures:
    """The features of an option group of an opened cache.

    Attributes:
        group: The option group.
        first: Index of its first option among those of all opened groups.
        stored: Its local vectors ``(N, T, K_g, L_g)``, memory-mapped.
        device: Where tensors are returned.
    """

    group: OptionGroup
    first: int
    stored: NDArray[Any]
    device: torch.device

    def local_vectors(
        self,
        videos: NDArray[np.int64] | int,
        steps: NDArray[np.int64] | int,
        options: NDArray[np.int64] | slice,
    ) -> Tensor:
        """Return local vectors float32; the three indices broadcast as NumPy's do.

        Options count from 0 in each group. ``local_vectors(videos[:, None], np.arange(T),
        options)`` with options ``(B, T)`` gives ``(B, T, L)``; ``local_vectors(videos, t,
        slice(None))`` gives ``(B, K, L)``.
        """
        return copied(self.stored[videos, steps, options], self.device)


def copied(indexed: NDArray[Any], device: torch.device) -> Tensor:
    """Return what was indexed of a mapped array, by arrays, as a float32 tensor of its own."""
    # Indexing with arrays copies; the copy is ours, so torch may own it. It travels as stored.
    return to_device(torch.from_numpy(indexed), device).float()
