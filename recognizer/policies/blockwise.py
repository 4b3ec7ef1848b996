"""A linear layer without bias over stored features that converts a few of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..devices import stacked, staged

# Converted features of this size stay in a processor's caches until they are multiplied.
_CHUNK_BYTES = 2**22
_ON_GPU = 64  # times as much: a GPU has to be given much at once


def blockwise_linear(blocks: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Return ``x @ weight.T`` for each of B blocks x of stored features.

    Blocks are converted to the weight's dtype and device just before they are multiplied, and again
    for the gradient: memory is that of a few of them, and on a CPU they stay in the processor's
    caches. To a GPU the next ones travel while some are multiplied. The blocks themselves get no
    gradient.

    Args:
        blocks: B tensors of one shape ``(..., I)``, of any floating dtype; at least one.
        weight: ``(O, I)``.

    Returns:
        ``(B, ..., O)`` of the weight's dtype.
    """
    rows: Tensor = _BlockwiseLinear.apply(weight, *blocks)
    return rows.view(len(blocks), *blocks[0].shape[:-1], len(weight))


class _BlockwiseLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, *blocks: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.blocks = blocks  # views of a file: keeping them costs nothing
        out = weight.new_empty(len(blocks), blocks[0][..., 0].numel(), len(weight))
        for where, rows in _converted(blocks, weight):
            torch.mm(rows, weight.t(), out=out[where].view(-1, len(weight)))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        # Transposed, (I, O): the larger side first is what two threads divide better.
        of_weight = weight.new_zeros(weight.shape[1], len(weight))
        for where, rows in _converted(ctx.blocks, weight):
            of_weight.addmm_(rows.t(), gradient[where].view(-1, len(weight)))
        return of_weight.t(), *[None] * len(ctx.blocks)


def _converted(blocks: Sequence[Tensor], weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield which blocks, and their rows ``(·, I)``; on a CPU in one buffer that is used again."""
    chunk_bytes = _CHUNK_BYTES * (_ON_GPU if weight.device.type == "cuda" else 1)
    size = max(1, chunk_bytes // (blocks[0].numel() * weight.element_size()))
    if (blocks[0].device.type, weight.device.type) == ("cpu", "cuda"):
        yield from _sent(blocks, weight, size)
        return
    buffer = weight.new_empty(min(size, len(blocks)), *blocks[0].shape)
    for start in range(0, len(blocks), size):
        few = blocks[start : start + size]
        converted = buffer[: len(few)]
        converted.copy_(few[0] if len(few) == 1 else torch.stack(list(few)))
        yield slice(start, start + len(few)), converted.view(-1, weight.shape[1])


def _sent(blocks: Sequence[Tensor], weight: Tensor, size: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield the same, of blocks on a CPU and a weight on a GPU; the next ones are on their way."""
    chunks = [blocks[start : start + size] for start in range(0, len(blocks), size)]
    sent = staged(((stacked(few, weight.device),) for few in chunks), weight.device)
    for i, (chunk,) in enumerate(sent):
        where = slice(i * size, i * size + len(chunk))
        yield where, chunk.to(weight.dtype).view(-1, weight.shape[1])
