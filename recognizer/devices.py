"""Between a computer's memory and a GPU's: what fits there, and what travels meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

RESIDENT = 0.5  # of a GPU's free memory, what one table may take: the rest is for what computes
Batch = tuple[Tensor, ...]


def fits(n_bytes: int, free: int) -> bool:
    """Return whether a table of so many bytes may stay where so many are free."""
    return n_bytes <= RESIDENT * free


def free_bytes(device: torch.device) -> int:
    """Return how many bytes of a GPU are free; 0 of the CPU, where files are mapped instead."""
    if device.type != "cuda":
        return 0
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def room_on(device: torch.device, shape: Sequence[int], dtype: torch.dtype) -> Tensor | None:
    """Return a tensor without content on a GPU; None if it does not fit there, or on the CPU."""
    if not fits(math.prod(shape) * dtype.itemsize, free_bytes(device)):
        return None
    try:
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    except torch.OutOfMemoryError:  # other processes were faster
        return None


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; to a GPU it travels through pinned memory, and nobody waits."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def stacked(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return tensors of one shape as one, on the CPU; in pinned memory if it goes to a GPU."""
    first = tensors[0]
    shape = (len(tensors), *first.shape)
    out = torch.empty(shape, dtype=first.dtype, pin_memory=device.type == "cuda")
    return torch.stack(list(tensors), out=out)


def staged(
    batches: Iterable[Batch], device: torch.device, side: Side | None = None
) -> Iterator[Batch]:
    """Yield batches on a device; to a GPU the next one travels while this one is computed on.

    Args:
        batches: Tensors, anywhere; the batch after the one that is yielded is asked for before.
        device: Where they are wanted.
        side: What lets them travel; None is one for the device, and on the CPU nothing is ahead.
    """
    if side is None and device.type != "cuda":
        yield from (tuple(part.to(device) for part in batch) for batch in batches)
        return
    side = side or Side(device)
    waiting: Batch | None = None
    remaining = iter(batches)
    while True:
        with side.work():
            batch = next(remaining, None)
            sent = None if batch is None else tuple(to_device(part, device) for part in batch)
        before, waiting = waiting, sent
        if before is not None:
            yield before
        if sent is None:
            return
        side.arrive(sent)


class Side:
    """A stream of a GPU beside the one that computes."""

    def __init__(self, device: torch.device) -> None:
        """Begin one, behind all that the GPU has been given."""
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def work(self) -> AbstractContextManager[object]:
        """Return the context in which what is given to the GPU goes to this stream."""
        return torch.cuda.stream(self._stream)

    def arrive(self, batch: Batch) -> None:
        """Let all that is computed from here on wait until a batch is there."""
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._stream)
        for part in batch:
            part.record_stream(computing)
