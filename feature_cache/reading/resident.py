"""An array of a cache on a GPU: its rows are copied there when they are first read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer.devices import room_on, to_device

_AT_ONCE = 64  # rows that are copied at a time


class _Writable:
    """An array's memory, told to be writable: torch warns of what is not."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array  # kept, for the memory is its
        where, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (where, False)}


def stored_tensor(array: NDArray[Any]) -> Tensor:
    """Return an array of a file as a tensor that must not be written to; nothing is copied.

    Several threads may do this at once, which Python's filters of warnings do not allow.
    """
    return torch.from_numpy(np.asarray(_Writable(array)))


class ResidentRows:
    """An array ``(N, ...)`` of a cache, as it is stored, where tensors are returned."""

    def __init__(self, stored: NDArray[Any], room: Tensor) -> None:
        """Take the array, memory-mapped, and an empty tensor of its shape and dtype."""
        self._stored, self._room = stored, room
        self._left = np.ones(len(stored), dtype=bool)

    @classmethod
    def of(cls, stored: NDArray[Any], device: torch.device) -> ResidentRows | None:
        """Return an array's rows on a GPU; None if they do not fit there, or on the CPU."""
        room = room_on(device, stored.shape, stored_tensor(stored).dtype)
        return None if room is None else cls(stored, room)

    def with_rows(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the tensor ``(N, ...)``, in which these rows ``(B,)``, and those before, are."""
        new = np.unique(rows[self._left[rows]])
        for some in np.split(new, range(_AT_ONCE, len(new), _AT_ONCE)) if len(new) else ():
            where = torch.from_numpy(some).to(self._room.device)
            copied = torch.from_numpy(self._stored[some])
            self._room[where] = to_device(copied, self._room.device)
            self._left[some] = False
        return self._room
