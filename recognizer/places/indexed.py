"""Places that are known beforehand: K of them, each named by its index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class IndexedPlaces(ABC):
    """What places with K boxes have in common: they are named by int64 indices in ``[0, K)``."""

    plural: ClassVar[str]
    names_centers: ClassVar[bool] = False

    @property
    @abstractmethod
    def n_options(self) -> int:
        """K, the number of options."""

    @property
    @abstractmethod
    def boxes_px(self) -> NDArray[np.int64]:
        """Boxes ``(K, 4)`` as (left, top, right, bottom), pixels; right and bottom exclusive."""

    def drawn(self, draws: Tensor) -> Tensor:
        """Return the options ``(...)`` that uniform numbers ``(..., 2)`` in [0, 1) name.

        The first number counts.
        """
        return (draws[..., 0] * self.n_options).long()

    def first(self, *shape: int) -> Tensor:
        """Return options that are all the first one: zeros ``(*shape,)`` int64."""
        return torch.zeros(shape, dtype=torch.int64)

    def boxes_at(self, where: Tensor) -> Tensor:
        """Return the boxes ``(..., 4)`` int64 of options ``(...)``, pixels."""
        return torch.from_numpy(self.boxes_px).to(where.device)[where]

    def check(self, where: Tensor) -> None:
        """Check that options ``(...)`` are indices in ``[0, K)``.

        Raises:
            ValueError: If one is not.
        """
        if where.dtype != torch.int64:
            raise ValueError(f"options must be int64; got {where.dtype}")
        if where.numel() and (where.min() < 0 or where.max() >= self.n_options):
            raise ValueError(
                f"options must be in [0, {self.n_options}); got values from {int(where.min())} to "
                f"{int(where.max())}"
            )
